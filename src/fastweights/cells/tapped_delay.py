"""The tapped delay line in front of a static network (Haykin 1999, Chapter 13; 2009, pp. 672–673)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from fastweights.cells._tapped import read_taps
from fastweights.cells.base import RecurrentLayer
from fastweights.errors import check_count
from fastweights.types import TapState


class TappedDelayLine(RecurrentLayer):
    """h(t) = ReLU(LN[Σ_k C_k x(t−k) + b]), k = 0 … K: the network sees the last K+1 inputs and nothing older.

    Time is held outside of the network that is trained. Calling convention, arguments not listed here and errors: see
    `RecurrentLayer`.

    Args:
        order: K ≥ 1, how many steps back the line reaches.
        layer_norm: normalise the sum inside the ReLU over the units of one step.

    Parameters: `weight_ih` (H, (K+1)·I), whose columns k·I … (k+1)·I − 1 are C_k; `bias` (H); with layer norm
    `norm.weight`, `norm.bias` (H). `weight_ih` starts uniform in ±1/√((K+1)·I), the bias at zero.
    The state's `taps`, (B, K, I), are x(t), x(t−1), …, x(t−K+1).
    """

    state_type: ClassVar[type[TapState]] = TapState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        order: int = 10,
        layer_norm: bool = False,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first)
        check_count("order", order)
        self.order = order
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, (order + 1) * input_size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.norm = nn.LayerNorm(hidden_size, device=device, dtype=dtype) if layer_norm else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw `weight_ih` anew; set the bias and the norm to what they start from."""
        bound = 1 / math.sqrt(self.weight_ih.shape[1])
        nn.init.uniform_(self.weight_ih, -bound, bound)
        nn.init.zeros_(self.bias)
        if self.norm is not None:
            self.norm.reset_parameters()

    @property
    def state_sizes(self) -> tuple[tuple[int, ...], ...]:
        return (self.hidden_size,), (self.order, self.input_size)

    def project(self, input: Tensor) -> Tensor:
        return input

    def scan(self, z: Tensor, state: TapState | None = None, lengths: Tensor | None = None) -> tuple[Tensor, TapState]:
        taps, carried = self.remember(z, None if state is None else state.taps, lengths)
        out, h = read_taps(taps, self.weight_ih, self.bias, self.norm, lengths)
        return out, TapState(h, carried)

    def remember(self, input: Tensor, taps: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Every step's x(t), x(t−1), …, x(t−K), (B, T, K+1, I), and the taps to carry on from each sequence's end."""
        batch, steps, features = input.shape
        past = input.new_zeros(batch, self.order, features) if taps is None else taps.flip(1)
        line = torch.cat([past, input], dim=1)  # x(1−K) … x(T)
        read = torch.stack([line[:, start : start + steps] for start in range(self.order, -1, -1)], dim=2)
        if lengths is None:
            return read, line[:, steps:].flip(1)
        newest = self.order + lengths - 1
        index = newest[:, None] - torch.arange(self.order, device=line.device)
        return read, line[torch.arange(batch, device=line.device)[:, None], index]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, order={self.order}"
