"""Back-propagation through time written out: ∂h_T/∂vec W of h_t = f(W h_{t−1} + z_t) in Kronecker form.

vec stacks columns. Only the *immediate* derivative ∂⁺ of one step, with h_{t−1} held, has a closed form,

    ∂⁺h_t/∂vec W = h_{t−1}ᵀ ⊗ D_t,   D_t = diag f′(W h_{t−1} + z_t),

and the whole one is the sum over the steps at which W was used,

    ∂h_T/∂vec W = Σ_{t=1..T} (D_T W) ⋯ (D_{t+1} W) (h_{t−1}ᵀ ⊗ D_t).

Summing total derivatives instead counts the early steps again and again. The term t = 1 vanishes if h_0 does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.checks import check_square
from fastweights.errors import UsageError


def immediate_jacobian(previous: Float[Tensor, " N"], slope: Float[Tensor, " N"]) -> Float[Tensor, "N NN"]:
    """h_{t−1}ᵀ ⊗ D_t, (N, N²), given h_{t−1} and the diagonal of D_t."""
    return torch.kron(previous.unsqueeze(0), torch.diag(slope))


def weight_jacobian(
    weight_hh: Float[Tensor, "N N"],
    z: Float[Tensor, "T N"],
    start: Float[Tensor, " N"],
    activation: Callable[[Tensor], Tensor],
) -> Float[Tensor, "N NN"]:
    """∂h_T/∂vec W, (N, N²), vec stacking columns, for one sequence of input products z_1 … z_T.

    `activation` is f, element by element. Raises UsageError for a W that is not square or a z or start of
    another width.
    """
    check_square("weight_hh", weight_hh)
    if z.dim() != 2 or len(z) == 0 or z.shape[1] != len(weight_hh):
        raise UsageError(f"z must be (T, {len(weight_hh)}) with T ≥ 1, got shape {tuple(z.shape)}")
    if start.shape != z.shape[1:]:
        raise UsageError(f"start must be ({len(weight_hh)},), got shape {tuple(start.shape)}")
    derivative = torch.func.vmap(torch.func.grad(activation))
    h, total = start, weight_hh.new_zeros(len(weight_hh), weight_hh.numel())
    for z_t in z:
        sum_t = weight_hh @ h + z_t
        slope = derivative(sum_t)
        total = slope.unsqueeze(1) * (weight_hh @ total) + immediate_jacobian(h, slope)
        h = activation(sum_t)
    return total
