"""The fast-weights RNN of Ba et al. (2016), Section 3."""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fastweights.cells.base import RecurrentLayer
from fastweights.errors import UsageError
from fastweights.kernels import Backend, fast_weights
from fastweights.kernels.activations import Activation
from fastweights.kernels.dispatch import check_backend, check_fast_weight_settings, resolve_backend
from fastweights.kernels.fast_weights.attention import attention_weights
from fastweights.types import FastWeightState


class FastWeightRNN(RecurrentLayer):
    """Recurrent layer with a fast weight matrix A that stores its recent hidden vectors.

        A(t)       = λ A(t−1) + η h(t) h(t)ᵀ,  A(0) = 0                          (eq. 1)
        h_0(t+1)   = f(W h(t) + C x(t+1) + b)
        h_s+1(t+1) = f(LN[W h(t) + C x(t+1) + b + A(t) h_s(t+1)]),  s = 0 … S−1  (eq. 5)

    and h(t+1) = h_S(t+1). The step that computes h(t+1) reads an A(t) that contains h(t), and h_0 is not normalised, as
    the paper prints it; `lagged` and `boundary_norm` are what others have read instead. Calling convention, arguments
    not listed here and errors: see `RecurrentLayer`.

    Args:
        inner_steps: S ≥ 1.
        decay: λ ≥ 0; above 1 the memory grows without bound, and a warning says so.
        fast_learning_rate: η.
        layer_norm: normalise the sum inside every inner step over the units of one sequence, with a learned gain and
            bias (Ba, Kiros & Hinton 2016). Without it the loop is unbounded.
        activation: f, "relu" or "tanh".
        lagged: read A(t−1) in place of A(t), as many replications do; the state holds the A that the next step reads.
        boundary_norm: normalise h_0 too, with the same gain and bias.
        identity_scale: W starts as this times the identity (0.05 in the paper).
        backend: what runs: "reference", "attention", "cpu" (the compiled core), "triton" (on a GPU) or "auto", the best
            that can run here; see `fastweights.kernels.fast_weights`. The readings `lagged` and `boundary_norm` have
            "reference" only.

    Parameters: `weight_ih` (H, I) = C, `weight_hh` (H, H) = W, `bias` (H), and with layer norm `norm.weight`,
    `norm.bias` (H). C starts uniform in ±1/√H, biases at zero, gains at one.
    """

    state_type: ClassVar[type[FastWeightState]] = FastWeightState
    tensor_settings: ClassVar[tuple[str, ...]] = ("decay", "fast_learning_rate")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        inner_steps: int = 1,
        decay: float = 0.95,
        fast_learning_rate: float = 0.5,
        layer_norm: bool = True,
        activation: Activation = "relu",
        lagged: bool = False,
        boundary_norm: bool = False,
        identity_scale: float = 0.05,
        batch_first: bool = False,
        backend: Backend = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first)
        check_fast_weight_settings(decay, fast_learning_rate, inner_steps, activation)
        check_backend(backend)
        if decay > 1:
            warnings.warn(f"decay = {decay} is above 1: the fast weights grow without bound", stacklevel=2)
        self.backend: Backend = backend
        self.inner_steps = inner_steps
        self.decay = decay
        self.fast_learning_rate = fast_learning_rate
        self.activation: Activation = activation
        self.lagged = lagged
        self.boundary_norm = boundary_norm
        self.identity_scale = identity_scale
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size, device=device, dtype=dtype))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.norm = nn.LayerNorm(hidden_size, device=device, dtype=dtype) if layer_norm else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw C anew; set W, the bias and the norm to what they start from."""
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
        return (self.hidden_size,), (self.hidden_size, self.hidden_size)

    def project(self, input: Tensor) -> Tensor:
        return linear(input, self.weight_ih, self.bias)

    def backend_for(self, steps: int) -> str:
        return resolve_backend(
            self.backend,
            tuple(self.parameters()),
            steps,
            self.hidden_size,
            reference_only=self.lagged or self.boundary_norm,
        )

    def scan(
        self, z: Tensor, state: FastWeightState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, FastWeightState]:
        return fast_weights(z, *self._weights(), state=state, lengths=lengths, backend=self.backend, **self._settings())

    def last_hidden(self, z: Tensor) -> Tensor:
        settings = self._settings()
        return fast_weights(z, *self._weights(), final_fast_weights=False, backend=self.backend, **settings)[1].h

    def attention(self, input: Tensor) -> Tensor:
        """How strongly each step attended to each earlier one (eq. 4), starting from a zero state.

        `input` is (B, T, I) if `batch_first`, else (T, B, I). Returns (B, T, T): entry [b, t, τ] is the coefficient
        η λ^{t−1−τ} h(τ)ᵀ h_{S−1}(t) with which h(τ) enters the last inner iteration of step t, zero for τ ≥ t. If
        `lagged`, the exponent is t − 2 − τ, and entries are zero for τ ≥ t − 1.
        """
        if input.dim() != 3:
            raise UsageError(f"attention needs batched input of three dimensions, got shape {tuple(input.shape)}")
        out, _ = self(input)
        z = self.project(input if self.batch_first else input.transpose(0, 1))
        out = out if self.batch_first else out.transpose(0, 1)
        return attention_weights(z, *self._weights(), out, **self._settings())

    def _weights(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if self.norm is None:
            return self.weight_hh, None, None
        return self.weight_hh, self.norm.weight, self.norm.bias

    def _settings(self) -> dict[str, Any]:
        return {
            "decay": self.decay,
            "fast_learning_rate": self.fast_learning_rate,
            "inner_steps": self.inner_steps,
            "activation": self.activation,
            "norm_epsilon": 1e-5 if self.norm is None else self.norm.eps,
            "lagged": self.lagged,
            "boundary_norm": self.boundary_norm,
        }

    def extra_repr(self) -> str:
        readings = "".join(f", {name}=True" for name in ("lagged", "boundary_norm") if getattr(self, name))
        return (
            f"{super().extra_repr()}, inner_steps={self.inner_steps}, decay={self.decay}, "
            f"fast_learning_rate={self.fast_learning_rate}, activation={self.activation!r}, backend={self.backend!r}"
            f"{readings}"
        )
