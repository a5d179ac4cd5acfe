"""The long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fastweights.cells.base import RecurrentLayer
from fastweights.errors import UsageError
from fastweights.kernels import LSTMNorm, PlainBackend, lstm
from fastweights.kernels.dispatch import check_backend, resolve_plain_backend
from fastweights.types import LSTMState


class LSTM(RecurrentLayer):
    """LSTM with torch.nn.LSTM's equations and gate order (i, f, g, o), and optional layer norm.

    Calling convention, arguments not listed here and errors: see `RecurrentLayer`.

    Args:
        forget_bias: what the forget gate's bias starts from; 1 keeps the cell early in training (Gers et al. 2000).
        layer_norm: normalise W h, C x and the cell on its way out (Ba, Kiros & Hinton 2016, eqs. 20–22).
        backend: what runs: "reference", "cpu" (the compiled core) or "auto", the core where it can run.

    Parameters: `weight_ih` (4H, I), `weight_hh` (4H, H), `bias` (4H); with layer norm `norm_ih`, `norm_hh` (4H) and
    `norm_cell` (H), each with `weight` and `bias`. Matrices start uniform in ±1/√H, the other biases at zero.
    """

    state_type: ClassVar[type[LSTMState]] = LSTMState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        layer_norm: bool = False,
        batch_first: bool = False,
        backend: PlainBackend = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first)
        check_backend(backend, PlainBackend)
        self.backend: PlainBackend = backend
        self.forget_bias = forget_bias
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size, device=device, dtype=dtype))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size, device=device, dtype=dtype))
        self.norm_ih = nn.LayerNorm(4 * hidden_size, device=device, dtype=dtype) if layer_norm else None
        self.norm_hh = nn.LayerNorm(4 * hidden_size, device=device, dtype=dtype) if layer_norm else None
        self.norm_cell = nn.LayerNorm(hidden_size, device=device, dtype=dtype) if layer_norm else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the matrices anew; set the biases and norms to what they start from."""
        bound = 1 / math.sqrt(self.hidden_size)
        nn.init.uniform_(self.weight_ih, -bound, bound)
        nn.init.uniform_(self.weight_hh, -bound, bound)
        nn.init.zeros_(self.bias)
        nn.init.constant_(self.bias[self.hidden_size : 2 * self.hidden_size], self.forget_bias)
        for norm in (self.norm_ih, self.norm_hh, self.norm_cell):
            if norm is not None:
                norm.reset_parameters()

    @property
    def state_sizes(self) -> tuple[tuple[int, ...], ...]:
        return (self.hidden_size,), (self.hidden_size,)

    def project(self, input: Tensor) -> Tensor:
        if self.norm_ih is None:
            return linear(input, self.weight_ih, self.bias)
        normed: Tensor = self.norm_ih(linear(input, self.weight_ih))
        return normed + self.bias

    def backend_for(self, steps: int) -> str:
        return resolve_plain_backend(self.backend, tuple(self.parameters()))

    def scan(
        self, z: Tensor, state: LSTMState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, LSTMState]:
        if self.norm_hh is None or self.norm_cell is None:
            return lstm(z, self.weight_hh, state=state, lengths=lengths, backend=self.backend)
        if self.norm_cell.eps != self.norm_hh.eps:
            raise UsageError(
                f"norm_cell.eps must equal norm_hh.eps = {self.norm_hh.eps}, got {self.norm_cell.eps}; set both"
            )
        norm = LSTMNorm(self.norm_hh.weight, self.norm_hh.bias, self.norm_cell.weight, self.norm_cell.bias)
        return lstm(
            z, self.weight_hh, norm, norm_epsilon=self.norm_hh.eps, state=state, lengths=lengths, backend=self.backend
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, forget_bias={self.forget_bias}, backend={self.backend!r}"
