"""The associative LSTM of Danihelka et al. (2016, arXiv 1602.03032): keys write to and read from one complex memory."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fastweights.cells.base import RecurrentLayer
from fastweights.errors import UsageError, check_count
from fastweights.kernels import PlainBackend, associative_lstm
from fastweights.kernels.dispatch import check_backend, resolve_plain_backend
from fastweights.types import AssociativeLSTMState


class AssociativeLSTM(RecurrentLayer):
    """LSTM whose cell is a complex associative memory in several redundant copies.

        c_s(t+1) = σ(f) ⊙ c_s(t) + Σ_k (P_s bound(r_i^k)) ⊛ (σ(i^k) ⊙ bound(u^k)),  s = 1 … copies
        h(t+1)   = Σ_k σ(o^k) ⊙ bound(mean_s (P_s bound(r_o^k)) ⊛ c_s(t+1)),        k = 1 … heads

    where ⊛ is the complex product entry by entry, bound(a) = a / max(1, |a|), and every P_s permutes complex entries.
    Reading with the conjugate of the key that wrote returns what was written, plus noise from the other items whose
    variance falls as one over the number of copies. Calling convention, arguments not listed here and errors: see
    `RecurrentLayer`.

    What the papers leave open is settled thus. H counts real numbers, that is H/2 complex ones, so that "R units" send
    as much to the next layer as in any other cell. Each head has its own keys r, update u and gates i, o, all of them
    linear in x(t+1) and h(t); the forget gate is one, because the memory is one. The heads' writes add, and so do their
    gated reads: h keeps H numbers whatever the number of heads, and one head is the published single-head model.

    Args:
        hidden_size: H, even.
        copies: of the memory, at least 1 (4 in Table 1 of Ba et al. 2016).
        heads: K ≥ 1, each of which writes and reads once a step (3 in Table 1).
        forget_bias: what the forget gate's bias starts from.
        backend: "reference", "cpu" or "auto"; see `fastweights.kernels.associative_lstm`.
        layer_norm: normalise W h and C x over all their entries, as eq. 20 of Ba, Kiros & Hinton (2016) does for the
            LSTM. The cell is left as it is: `bound` limits what leaves it.

    Parameters, with Z = (1 + 8K) H/2: `weight_ih` (Z, I), `weight_hh` (Z, H), `bias` (Z); with layer norm `norm_ih`,
    `norm_hh` (Z), each with `weight` and `bias`. The rows are f, then i, o, r_i, r_o, u of one head after the other.
    Matrices start uniform in ±1/√H, the other biases at zero. The buffer `permutations` (copies, H/2) is drawn with the
    matrices and then fixed; the first copy's is the identity.
    """

    state_type: ClassVar[type[AssociativeLSTMState]] = AssociativeLSTMState
    permutations: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        copies: int = 4,
        heads: int = 3,
        layer_norm: bool = False,
        forget_bias: float = 1.0,
        batch_first: bool = False,
        backend: PlainBackend = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first)
        if hidden_size % 2:
            raise UsageError(f"hidden_size must be even (half real parts, half imaginary parts), got {hidden_size!r}")
        check_count("copies", copies)
        check_count("heads", heads)
        check_backend(backend, PlainBackend)
        self.backend: PlainBackend = backend
        self.copies = copies
        self.heads = heads
        self.forget_bias = forget_bias
        rows = (1 + 8 * heads) * hidden_size // 2
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(rows, device=device, dtype=dtype))
        self.norm_ih = nn.LayerNorm(rows, device=device, dtype=dtype) if layer_norm else None
        self.norm_hh = nn.LayerNorm(rows, device=device, dtype=dtype) if layer_norm else None
        self.register_buffer("permutations", torch.empty(copies, hidden_size // 2, device=device, dtype=torch.long))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the matrices and permutations anew; set the biases and norms to what they start from."""
        scale = 1 / math.sqrt(self.hidden_size)
        nn.init.uniform_(self.weight_ih, -scale, scale)
        nn.init.uniform_(self.weight_hh, -scale, scale)
        nn.init.zeros_(self.bias)
        half = self.hidden_size // 2
        nn.init.constant_(self.bias[:half], self.forget_bias)
        for norm in (self.norm_ih, self.norm_hh):
            if norm is not None:
                norm.reset_parameters()
        torch.arange(half, out=self.permutations[0])
        for permutation in self.permutations[1:]:
            torch.randperm(half, out=permutation)

    @property
    def state_sizes(self) -> tuple[tuple[int, ...], ...]:
        return (self.hidden_size,), (self.copies, self.hidden_size)

    def project(self, input: Tensor) -> Tensor:
        if self.norm_ih is None:
            return linear(input, self.weight_ih, self.bias)
        normed: Tensor = self.norm_ih(linear(input, self.weight_ih))
        return normed + self.bias

    def backend_for(self, steps: int) -> str:
        return resolve_plain_backend(self.backend, tuple(self.parameters()))

    def scan(
        self, z: Tensor, state: AssociativeLSTMState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, AssociativeLSTMState]:
        weights: tuple[Tensor, ...] = (self.weight_hh, self.permutations)
        settings: dict[str, Any] = {"heads": self.heads, "backend": self.backend}
        if self.norm_hh is not None:
            weights += (self.norm_hh.weight, self.norm_hh.bias)
            settings["norm_epsilon"] = self.norm_hh.eps
        return associative_lstm(z, *weights, state=state, lengths=lengths, **settings)

    def extra_repr(self) -> str:
        return (
            f"{super().extra_repr()}, copies={self.copies}, heads={self.heads}, forget_bias={self.forget_bias}, "
            f"backend={self.backend!r}"
        )
