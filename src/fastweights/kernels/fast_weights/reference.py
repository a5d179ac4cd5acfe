"""The fast-weight recurrence with A(t) explicit, in the paper's symbols: what every backend is held to."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import layer_norm

from fastweights.kernels.activations import Activation, activation_function
from fastweights.types import FastWeightState


def fast_weights(
    z: Float[Tensor, "B T H"],
    W: Float[Tensor, "H H"],
    gain: Float[Tensor, " H"] | None,
    bias: Float[Tensor, " H"] | None,
    state: FastWeightState | None,
    lengths: Int[Tensor, " B"] | None,
    *,
    decay: float | Tensor,
    fast_learning_rate: float | Tensor,
    inner_steps: int,
    activation: Activation,
    norm_epsilon: float,
    final_fast_weights: bool,
    lagged: bool = False,
    boundary_norm: bool = False,
) -> tuple[Float[Tensor, "B T H"], FastWeightState]:
    """Equations 1 and 5 of Ba et al. (2016), step by step; see `fastweights.kernels.fast_weights` for the arguments."""
    f = activation_function(activation)
    λ, η = decay, fast_learning_rate
    batch, _, hidden = z.shape

    def normed(total: Tensor) -> Tensor:
        return total if gain is None else layer_norm(total, (hidden,), gain, bias, norm_epsilon)

    h, A = state or (z.new_zeros(batch, hidden), z.new_zeros(batch, hidden, hidden))
    outputs = []
    for t, z_t in enumerate(z.unbind(1)):
        boundary = z_t + h @ W.T  # W h(t) + C x(t)
        h_s = f(normed(boundary) if boundary_norm else boundary)  # h_0(t+1)
        for _ in range(inner_steps):
            h_s = f(normed(boundary + (A @ h_s.unsqueeze(-1)).squeeze(-1)))  # eq. 5
        stored = h if lagged else h_s
        A_next = λ * A + η * stored.unsqueeze(-1) * stored.unsqueeze(-2)  # eq. 1
        if lengths is None:
            h, A = h_s, A_next
            outputs.append(h_s)
        else:
            active = (t < lengths).unsqueeze(-1)
            h = torch.where(active, h_s, h)
            A = torch.where(active.unsqueeze(-1), A_next, A)
            outputs.append(torch.where(active, h_s, 0.0))
    return torch.stack(outputs, dim=1), FastWeightState(h, A if final_fast_weights else A.new_empty(batch, 0, 0))
