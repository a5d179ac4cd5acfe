"""The recurrence of the identity RNN (Le, Jaitly & Hinton 2015), the specification of its backends."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import layer_norm

from fastweights.types import RNNState


def irnn(
    z: Float[Tensor, "B T H"],
    W: Float[Tensor, "H H"],
    gain: Float[Tensor, " H"] | None,
    bias: Float[Tensor, " H"] | None,
    state: RNNState | None,
    lengths: Int[Tensor, " B"] | None,
    *,
    norm_epsilon: float,
) -> tuple[Float[Tensor, "B T H"], RNNState]:
    """h(t+1) = ReLU(LN[W h(t) + z(t+1)]), the sum normalised as in eq. 4 of Ba, Kiros & Hinton (2016)."""
    h = z.new_zeros(z.shape[0], z.shape[2]) if state is None else state.h
    outputs = []
    for t, z_t in enumerate(z.unbind(1)):
        total = z_t + h @ W.T
        h_next = torch.relu(total if gain is None else layer_norm(total, h.shape[-1:], gain, bias, norm_epsilon))
        if lengths is None:
            h = h_next
            outputs.append(h)
        else:
            active = (t < lengths).unsqueeze(-1)
            h = torch.where(active, h_next, h)
            outputs.append(torch.where(active, h_next, 0.0))
    return torch.stack(outputs, dim=1), RNNState(h)
