"""The tapped delay line in front of a static network (Waibel et al. 1989; Haykin 2009, Section 13.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from fastweights.cells._tapped import TappedNetwork


class TappedDelayLine(TappedNetwork):
    """h(t) = ReLU(LN[Σ_k C_k x(t−k) + b]), k = 0 … K: the network sees the last K+1 inputs and nothing older.

    Calling convention and errors: see `RecurrentLayer`; parameters: see `TappedNetwork`.

    Args:
        order: K ≥ 1, how many steps back the line reaches.
        layer_norm: normalise the sum inside the ReLU.

    The state's `taps`, (B, K, I), are x(t), x(t−1), …, x(t−K+1).
    """

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
        super().__init__(
            input_size,
            hidden_size,
            order=order,
            layer_norm=layer_norm,
            batch_first=batch_first,
            device=device,
            dtype=dtype,
        )
        self.reset_parameters()

    @property
    def state_sizes(self) -> tuple[tuple[int, ...], ...]:
        return (self.hidden_size,), (self.order, self.input_size)

    def remember(self, input: Tensor, taps: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, steps, features = input.shape
        past = input.new_zeros(batch, self.order, features) if taps is None else taps.flip(1)
        line = torch.cat([past, input], dim=1)  # x(1−K) … x(T)
        read = torch.stack([line[:, start : start + steps] for start in range(self.order, -1, -1)], dim=2)
        if lengths is None:
            return read, line[:, steps:].flip(1)
        newest = self.order + lengths - 1
        index = newest[:, None] - torch.arange(self.order, device=line.device)
        return read, line[torch.arange(batch, device=line.device)[:, None], index]
