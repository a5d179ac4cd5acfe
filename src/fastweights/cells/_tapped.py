"""The static network behind a memory of the input: what the tapped delay line and the gamma memory share."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear


def read_taps(
    taps: Float[Tensor, "B T taps I"],
    weight_ih: Float[Tensor, "H inputs"],
    bias: Float[Tensor, " H"],
    norm: nn.LayerNorm | None,
    lengths: Int[Tensor, " B"] | None,
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B H"]]:
    """h(t) = ReLU(LN[C [x_0(t); …; x_K(t)] + b]) of all steps, zero past a sequence's end, and of each one's last step.

    Nothing feeds back from h, so that all memory of the past is in the taps x_k (Haykin 1999, Chapter 13: a "focused
    time-lagged feedforward network"). Columns k·I … (k+1)·I − 1 of C, `weight_ih`, read tap k.
    """
    total = linear(taps.flatten(2), weight_ih, bias)
    out = torch.relu(total if norm is None else norm(total))
    if lengths is None:
        return out, out[:, -1]
    batch, steps = out.shape[:2]
    active = torch.arange(steps, device=out.device) < lengths.unsqueeze(-1)
    return torch.where(active.unsqueeze(-1), out, 0.0), out[torch.arange(batch, device=out.device), lengths - 1]
