"""The gamma memory in front of a static network (de Vries & Principe 1992): a delay line whose taps leak."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from fastweights.cells._tapped import read_taps
from fastweights.cells.base import RecurrentLayer
from fastweights.errors import UsageError, check_count
from fastweights.types import TapState


class GammaMemory(RecurrentLayer):
    """h(t) = ReLU(LN[C [x_0(t); …; x_K(t)] + b]) over a cascade of leaky integrators with one learned rate μ.

        x_0(t) = x(t),    x_k(t) = (1−μ) x_k(t−1) + μ x_{k−1}(t−1),  k = 1 … K

    μ = 1 is the tapped delay line; a smaller μ reaches back further, to K/μ steps on average, with resolution μ. The
    cascade is stable for 0 < μ < 2. Its impulse responses are in `fastweights.memories.gamma_memory`. Calling
    convention, arguments not listed here and errors: see `RecurrentLayer`.

    Args:
        order: K ≥ 1.
        resolution: what μ starts from, in (0, 2).
        layer_norm: normalise the sum inside the ReLU over the units of one step.

    Parameters: `weight_ih` (H, (K+1)·I) = C, whose columns k·I … (k+1)·I − 1 read tap k; `bias` (H);
    `resolution_logit` (), the a in μ = 2/(1 + e^{−a}), which keeps μ in (0, 2) while it is learned; with layer norm
    `norm.weight`, `norm.bias` (H). C starts uniform in ±1/√((K+1)·I), the bias at zero.
    The state's `taps`, (B, K+1, I), are x_0(t) … x_K(t).
    """

    state_type: ClassVar[type[TapState]] = TapState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        order: int = 5,
        resolution: float = 0.5,
        layer_norm: bool = False,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first)
        check_count("order", order)
        if not 0 < resolution < 2:
            raise UsageError(f"resolution must be in (0, 2), where the memory is stable; got {resolution!r}")
        self.order = order
        self.initial_resolution = resolution
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, (order + 1) * input_size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.norm = nn.LayerNorm(hidden_size, device=device, dtype=dtype) if layer_norm else None
        self.resolution_logit = nn.Parameter(torch.empty((), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw C anew; set the bias, the norm and μ to what they start from."""
        bound = 1 / math.sqrt(self.weight_ih.shape[1])
        nn.init.uniform_(self.weight_ih, -bound, bound)
        nn.init.zeros_(self.bias)
        if self.norm is not None:
            self.norm.reset_parameters()
        nn.init.constant_(self.resolution_logit, math.log(self.initial_resolution / (2 - self.initial_resolution)))

    @property
    def resolution(self) -> Tensor:
        """μ as it is now."""
        return 2 * torch.sigmoid(self.resolution_logit)

    @property
    def state_sizes(self) -> tuple[tuple[int, ...], ...]:
        return (self.hidden_size,), (self.order + 1, self.input_size)

    def project(self, input: Tensor) -> Tensor:
        return input

    def scan(self, z: Tensor, state: TapState | None = None, lengths: Tensor | None = None) -> tuple[Tensor, TapState]:
        taps, carried = self.remember(z, None if state is None else state.taps, lengths)
        out, h = read_taps(taps, self.weight_ih, self.bias, self.norm, lengths)
        return out, TapState(h, carried)

    def remember(self, input: Tensor, taps: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Every step's taps x_0(t) … x_K(t), (B, T, K+1, I), and the taps to carry on from each sequence's end."""
        batch, steps, features = input.shape
        current = input.new_zeros(batch, self.order + 1, features) if taps is None else taps
        μ = self.resolution
        read = []
        for t in range(steps):
            leaked = (1 - μ) * current[:, 1:] + μ * current[:, :-1]
            following = torch.cat([input[:, t : t + 1], leaked], dim=1)
            current = following if lengths is None else torch.where((t < lengths)[:, None, None], following, current)
            read.append(current)
        return torch.stack(read, dim=1), current

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, order={self.order}, initial_resolution={self.initial_resolution}"
