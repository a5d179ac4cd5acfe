"""The recurrence of the LSTM with a forget gate (Gers et al. 2000), the specification of its backends."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import layer_norm

from fastweights.kernels.lstm.norm import LSTMNorm
from fastweights.types import LSTMState


def lstm(
    z: Float[Tensor, "B T G"],
    W: Float[Tensor, "G H"],
    norm: LSTMNorm | None,
    state: LSTMState | None,
    lengths: Int[Tensor, " B"] | None,
    *,
    norm_epsilon: float,
) -> tuple[Float[Tensor, "B T H"], LSTMState]:
    """Gates i, f, g, o = z(t+1) + LN[W h(t)], G = 4H; c ← σ(f) c + σ(i) tanh(g); h = σ(o) tanh(LN[c]).

    Layer norm stands where eqs. 20–22 of Ba, Kiros & Hinton (2016) put it: over all 4H entries of W h, over all 4H
    entries of the input product (done by the caller, in z), and over the cell on its way out.
    """
    zeros = z.new_zeros(z.shape[0], W.shape[1])
    h, c = state or (zeros, zeros)
    outputs = []
    for t, z_t in enumerate(z.unbind(1)):
        recurrent = h @ W.T
        if norm is not None:
            recurrent = layer_norm(recurrent, W.shape[:1], norm.hh_weight, norm.hh_bias, norm_epsilon)
        i, f, g, o = (z_t + recurrent).chunk(4, dim=-1)
        c_next = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        read = c_next
        if norm is not None:
            read = layer_norm(c_next, c.shape[-1:], norm.cell_weight, norm.cell_bias, norm_epsilon)
        h_next = torch.sigmoid(o) * torch.tanh(read)
        if lengths is None:
            h, c = h_next, c_next
            outputs.append(h)
        else:
            active = (t < lengths).unsqueeze(-1)
            h, c = torch.where(active, h_next, h), torch.where(active, c_next, c)
            outputs.append(torch.where(active, h_next, 0.0))
    return torch.stack(outputs, dim=1), LSTMState(h, c)
