"""A static network behind a memory of the input: what the tapped delay line and the gamma memory share."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fastweights.cells.base import RecurrentLayer
from fastweights.errors import UsageError


class TapState(NamedTuple):
    """What the layer carries: `h`, (B, H), which no later step reads, and the memory's `taps`, (B, taps, I)."""

    h: Tensor
    taps: Tensor


class TappedNetwork(RecurrentLayer):
    """h(t) = ReLU(LN[C [x_0(t); …; x_K(t)] + b]): no feedback from h, so all memory of the past is in the taps x_k.

    A concrete layer says how the taps follow from the input, in `remember`. Time is held outside of the network that is
    trained (Haykin 2009, Section 13.3: "focused time-lagged feedforward network").

    Args:
        order: K ≥ 1.
        layer_norm: normalise the sum inside the ReLU over the units of one step.

    Parameters: `weight_ih` (H, (K+1)·I) = C, whose columns k·I … (k+1)·I − 1 read tap k; `bias` (H); with layer norm
    `norm.weight`, `norm.bias` (H). C starts uniform in ±1/√((K+1)·I), the bias at zero.
    """

    state_type: ClassVar[type[TapState]] = TapState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        order: int,
        layer_norm: bool,
        batch_first: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first)
        if order < 1:
            raise UsageError(f"order must be at least 1, got {order!r}")
        self.order = order
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, (order + 1) * input_size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.norm = nn.LayerNorm(hidden_size, device=device, dtype=dtype) if layer_norm else None

    def reset_parameters(self) -> None:
        """Draw C anew; set the bias and the norm to what they start from."""
        bound = 1 / math.sqrt(self.weight_ih.shape[1])
        nn.init.uniform_(self.weight_ih, -bound, bound)
        nn.init.zeros_(self.bias)
        if self.norm is not None:
            self.norm.reset_parameters()

    @abstractmethod
    def remember(self, input: Tensor, taps: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Every step's taps x_0(t) … x_K(t), (B, T, K+1, I), and the taps to carry on from each sequence's end."""

    def project(self, input: Tensor) -> Tensor:
        return input

    def scan(self, z: Tensor, state: TapState | None = None, lengths: Tensor | None = None) -> tuple[Tensor, TapState]:
        read, taps = self.remember(z, None if state is None else state.taps, lengths)
        total = linear(read.flatten(2), self.weight_ih, self.bias)
        out = torch.relu(total if self.norm is None else self.norm(total))
        if lengths is None:
            return out, TapState(out[:, -1], taps)
        out = torch.where(torch.arange(out.shape[1], device=out.device)[:, None] < lengths[:, None, None], out, 0.0)
        return out, TapState(out[torch.arange(len(out), device=out.device), lengths - 1], taps)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, order={self.order}"
