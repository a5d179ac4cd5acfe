"""The modern Hopfield network (Ramsauer et al. 2021, arXiv 2008.02217): real states, recall by softmax attention."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import torch
from jaxtyping import Float
from scipy.special import wrightomega
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.memories._inputs import ArrayLike, at_least, positive, rows, vectors


class Descent(NamedTuple):
    """States of B queries, (steps + 1, B, N), and their energy, (steps + 1, B)."""

    states: Float[Tensor, "steps B N"]
    energy: Float[Tensor, "steps B"]


class ModernHopfield:
    """ξ ← X softmax(β Xᵀξ) over stored patterns, the columns of X, with energy

        E(ξ) = −β⁻¹ ln Σ_μ exp(β x_μᵀξ) + ½ ξᵀξ + β⁻¹ ln P + ½ M²,   M = max ‖x_μ‖  (eq. 2)

    which every update lowers, or leaves as it is at a fixed point. One update is one step of attention with the
    patterns as keys and as values.

    Args:
        inverse_temperature: β > 0; small β recalls averages of patterns, large β single ones.
    """

    def __init__(self, inverse_temperature: float = 1.0) -> None:
        self.inverse_temperature = positive("inverse_temperature", inverse_temperature)
        self._patterns: Tensor | None = None

    @property
    def patterns(self) -> Float[Tensor, "P N"]:
        """All that was stored, one pattern a row; UsageError while nothing is."""
        if self._patterns is None:
            raise UsageError("ModernHopfield is empty: call store before recall")
        return self._patterns

    def store(self, patterns: ArrayLike) -> ModernHopfield:
        """Add real patterns, (P, N), to what is stored, and return the memory itself."""
        old = self._patterns
        new = rows("patterns", patterns, size=None if old is None else old.shape[1], like=old)
        self._patterns = new if old is None else torch.cat([old, new])
        return self

    def energy(self, states: ArrayLike) -> Float[Tensor, "*batch"]:
        """E of every state, (..., N) → (...); never negative."""
        X, β = self.patterns, self.inverse_temperature
        ξ = vectors("states", states, size=X.shape[1], like=X)
        constant = math.log(len(X)) / β + 0.5 * (X**2).sum(dim=1).max()
        return constant + 0.5 * (ξ**2).sum(dim=-1) - torch.logsumexp(β * ξ @ X.T, dim=-1) / β

    def recall(self, queries: ArrayLike, *, steps: int = 1) -> Float[Tensor, "B N"]:
        """The states after `steps` updates of the queries; arguments and errors as for `relax`."""
        return self.relax(queries, steps=steps).states[-1]

    def relax(self, queries: ArrayLike, *, steps: int) -> Descent:
        """Update the queries, (B, N), `steps` ≥ 1 times, recording states and energy."""
        X, β = self.patterns, self.inverse_temperature
        states = [rows("queries", queries, size=X.shape[1], like=X)]
        for _ in range(at_least("steps", steps, 1)):
            states.append(torch.softmax(β * states[-1] @ X.T, dim=1) @ X)
        path = torch.stack(states)
        return Descent(path, self.energy(path))


_LARGEST_LOG = math.log(sys.float_info.max)


class ModernCapacity(NamedTuple):
    """The base `c` of the bound, and the number of patterns `patterns` that it guarantees."""

    c: float
    patterns: float


def modern_capacity(
    dimension: int, *, inverse_temperature: float = 1.0, radius: float, failure_probability: float = 0.001
) -> ModernCapacity:
    """Patterns √p c^{(d−1)/4} that can be stored with probability 1 − p, exponential in d (Theorem 3).

    The patterns are drawn from a sphere of radius K √(d−1) in R^d, and

        c = b / W₀(exp(a + ln b)),  a = (2/(d−1)) (1 + ln(2 β K² p (d−1))),  b = 2 K² β / 5

    with Lambert's W₀. The theorem needs c ≥ (2/√p)^{4/(d−1)}, or else it guarantees nothing: UsageError.

    Args:
        dimension: d ≥ 2.
        inverse_temperature: β > 0.
        radius: K > 0.
        failure_probability: p in (0, 1].
    """
    at_least("dimension", dimension, 2)
    if not 0 < failure_probability <= 1:
        raise UsageError(f"failure_probability must be in (0, 1], got {failure_probability!r}")
    p, β, free = failure_probability, positive("inverse_temperature", inverse_temperature), dimension - 1
    squared = positive("radius", radius) ** 2
    a = 2 / free * (1 + math.log(2 * β * squared * p * free))
    b = 2 * squared * β / 5
    c = b / float(wrightomega(a + math.log(b)))  # ω(x) = W₀(eˣ), without the overflow of eˣ
    if c < (2 / math.sqrt(p)) ** (4 / free):
        raise UsageError(
            f"the bound needs c ≥ (2/√p)^(4/(d−1)) = {(2 / math.sqrt(p)) ** (4 / free):.4g}, but c = {c:.4g} "
            f"for dimension {dimension}, inverse_temperature {β:g} and radius {radius:g}; increase one of them"
        )
    log_patterns = math.log(p) / 2 + free / 4 * math.log(c)
    if log_patterns > _LARGEST_LOG:
        raise UsageError(f"dimension {dimension} gives a bound above 1e308 patterns; decrease it")
    return ModernCapacity(c, math.exp(log_patterns))
