"""The identity RNN of Le, Jaitly & Hinton (2015, arXiv 1504.00941): a ReLU RNN whose W starts as a scaled identity."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fastweights.cells.base import RecurrentLayer
from fastweights.kernels import PlainBackend, irnn
from fastweights.kernels.dispatch import check_backend, resolve_plain_backend
from fastweights.types import RNNState


class IRNN(RecurrentLayer):
    """h(t+1) = ReLU(W h(t) + C x(t+1) + b), W initialised to a multiple of the identity.

    Calling convention, arguments not listed here and errors: see `RecurrentLayer`.

    Args:
        identity_scale: W starts as this times the identity: 0.5 in Ba et al. (2016), 1.0 in Le et al. (2015).
        layer_norm: normalise the sum inside the ReLU (Ba, Kiros & Hinton 2016, eq. 4).
        backend: what runs: "reference", "cpu" (the compiled core) or "auto", the core where it can run.

    Parameters: `weight_ih` (H, I), `weight_hh` (H, H), `bias` (H), with layer norm `norm.weight`, `norm.bias` (H).
    `weight_ih` starts uniform in ±1/√H, biases at zero.
    """

    state_type: ClassVar[type[RNNState]] = RNNState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        identity_scale: float = 0.5,
        layer_norm: bool = False,
        batch_first: bool = False,
        backend: PlainBackend = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first)
        check_backend(backend, PlainBackend)
        self.backend: PlainBackend = backend
        self.identity_scale = identity_scale
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size, device=device, dtype=dtype))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.norm = nn.LayerNorm(hidden_size, device=device, dtype=dtype) if layer_norm else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw `weight_ih` anew; set W, the bias and the norm to what they start from."""
        bound = 1 / math.sqrt(self.hidden_size)
        nn.init.uniform_(self.weight_ih, -bound, bound)
        nn.init.eye_(self.weight_hh)
        with torch.no_grad():
            self.weight_hh.mul_(self.identity_scale)
        nn.init.zeros_(self.bias)
        if self.norm is not None:
            self.norm.reset_parameters()

    @property
    def state_sizes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.hidden_size,),)

    def project(self, input: Tensor) -> Tensor:
        return linear(input, self.weight_ih, self.bias)

    def backend_for(self, steps: int) -> str:
        return resolve_plain_backend(self.backend, tuple(self.parameters()))

    def scan(self, z: Tensor, state: RNNState | None = None, lengths: Tensor | None = None) -> tuple[Tensor, RNNState]:
        if self.norm is None:
            return irnn(z, self.weight_hh, state=state, lengths=lengths, backend=self.backend)
        weight, bias, epsilon = self.norm.weight, self.norm.bias, self.norm.eps
        return irnn(
            z, self.weight_hh, weight, bias, norm_epsilon=epsilon, state=state, lengths=lengths, backend=self.backend
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, identity_scale={self.identity_scale}, backend={self.backend!r}"
