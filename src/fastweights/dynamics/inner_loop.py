"""Does the inner loop h_{s+1} = f(LN[b + A h_s]) of a fast-weight network settle? (Ba et al. 2016, eq. 5, A frozen)

It contracts, whatever b is, if Lip(f∘LN) ‖A‖₂ < 1. At the argument u, with σ² the variance of its entries plus ε, layer
norm of gain g has the Jacobian diag(g) (I − 11ᵀ/N − ûûᵀ/N)/σ, of norm at most max|g|/σ. Over all u the constant is thus
max|g|/√ε, which no trained network meets; along a run it is σ that decides, and with it how large the sum is: the
larger A makes it, the more layer norm divides by. All of that is logged side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.checks import check_finite
from fastweights.errors import UsageError


class Contraction(NamedTuple):
    """What bounds the inner loop at each point of a run, (T,) each; below 1 it contracts.

    `everywhere` is Lip(f∘LN) ‖A‖₂ with the constant for all arguments: only this one proves that the loop settles.
    `here` is max|g|/σ · ‖A‖₂ at the argument reached, `exact` the norm of the loop's Jacobian there: exact ≤ here ≤
    everywhere.
    """

    fast_weight_norm: Float[Tensor, " T"]
    everywhere: Float[Tensor, " T"]
    here: Float[Tensor, " T"]
    exact: Float[Tensor, " T"]


def contraction(
    fast_weights: Float[Tensor, "T H H"],
    sums: Float[Tensor, "T H"],
    norm_weight: Float[Tensor, " H"],
    norm_bias: Float[Tensor, " H"],
    activation: Callable[[Tensor], Tensor],
    *,
    norm_epsilon: float = 1e-5,
) -> Contraction:
    """The bounds for each A(t) and each argument u of layer norm, b + A h_s, that a run came through.

    `activation` is f, of Lipschitz constant at most 1 as ReLU and tanh are. Raises UsageError for values that are not
    finite, for shapes that do not fit and for norm_epsilon ≤ 0.
    """
    if fast_weights.dim() != 3 or fast_weights.shape != (*sums.shape, sums.shape[-1]):
        raise UsageError(
            f"fast_weights must be (T, H, H) and sums (T, H), got {tuple(fast_weights.shape)} and {tuple(sums.shape)}"
        )
    if norm_epsilon <= 0:
        raise UsageError(f"norm_epsilon must be positive, got {norm_epsilon!r}")
    for name, value in (("norm_weight", norm_weight), ("norm_bias", norm_bias)):
        if value.shape != sums.shape[1:]:
            raise UsageError(f"{name} must be ({sums.shape[1]},), got shape {tuple(value.shape)}")
        check_finite(name, value)
    check_finite("fast_weights", fast_weights)
    check_finite("sums", sums)

    def outer(u: Tensor) -> Tensor:
        return activation(torch.nn.functional.layer_norm(u, u.shape, norm_weight, norm_bias, norm_epsilon))

    size = torch.linalg.matrix_norm(fast_weights, 2)
    gain = norm_weight.abs().max()
    sigma = (sums.var(dim=1, correction=0) + norm_epsilon).sqrt()
    slopes: Tensor = torch.func.vmap(torch.func.jacrev(outer))(sums)
    exact = torch.linalg.matrix_norm(slopes @ fast_weights, 2)
    return Contraction(size, gain / norm_epsilon**0.5 * size, gain / sigma * size, exact)
