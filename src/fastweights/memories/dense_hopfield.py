"""The dense associative memory (Krotov & Hopfield 2016): an energy of higher than second order stores more."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.memories._inputs import ArrayLike, at_least, signs, vectors
from fastweights.memories.relaxation import Relaxation, align


class DenseHopfield:
    """±1 units with energy E = −N Σ_μ (ξ_μᵀx / N)ⁿ; a unit takes the sign that gives the lower energy.

    n = 2 is the binary Hopfield network with Hebb's rule, at twice its energy up to a constant. Capacity grows as
    N^{n−1}: see `dense_capacity`. The factor N^{1−n} before Krotov and Hopfield's Σ (ξᵀx)ⁿ keeps large N within range.

    Args:
        power: n ≥ 2.
    """

    def __init__(self, power: int = 3) -> None:
        self.power = at_least("power", power, 2)
        self._patterns: Tensor | None = None

    @property
    def patterns(self) -> Float[Tensor, "P N"]:
        """All that was stored; UsageError while nothing is."""
        if self._patterns is None:
            raise UsageError("DenseHopfield is empty: call store before recall")
        return self._patterns

    def store(self, patterns: ArrayLike) -> DenseHopfield:
        """Add ±1 patterns, (P, N), to what is stored, and return the memory itself.

        Raises UsageError for patterns of another shape or with other entries, and if P Nⁿ overflows their dtype.
        """
        old = self._patterns
        new = signs("patterns", patterns, size=None if old is None else old.shape[1], like=old)
        stored = new if old is None else torch.cat([old, new])
        count, size = stored.shape
        if math.log(max(count, 1)) + self.power * math.log(size) >= math.log(torch.finfo(stored.dtype).max):
            raise UsageError(
                f"power = {self.power} is too large for {count} patterns of {size} units in {stored.dtype}: P Nⁿ "
                "overflows; use a smaller power" + ("" if stored.dtype == torch.float64 else ", or float64 patterns")
            )
        self._patterns = stored
        return self

    def energy(self, states: ArrayLike) -> Float[Tensor, "*batch"]:
        """E of every state, (..., N) → (...)."""
        ξ = self.patterns
        x = vectors("states", states, size=ξ.shape[1], like=ξ)
        return self._energy_at(x @ ξ.T)

    def recall(
        self, probes: ArrayLike, *, max_sweeps: int = 100, generator: torch.Generator | None = None
    ) -> Float[Tensor, "B N"]:
        """The states that the probes run to; arguments and errors as for `relax`."""
        return self.relax(probes, max_sweeps=max_sweeps, generator=generator).state

    def relax(
        self, probes: ArrayLike, *, max_sweeps: int = 100, generator: torch.Generator | None = None
    ) -> Relaxation:
        """Update unit after unit, in a new random order each sweep, until no probe changes; the energy never rises.

        Args:
            probes: (B, N) of ±1.
            max_sweeps: updates of every unit, at most.
            generator: for the orders, on the CPU.

        Raises UsageError for probes of another shape or with other entries.
        """
        ξ = self.patterns
        state = signs("probes", probes, size=ξ.shape[1], like=ξ).clone()
        at_least("max_sweeps", max_sweeps, 1)
        sums = state @ ξ.T  # ξ_μᵀx, whole numbers, kept up to date as units change
        energy = [self._energy_at(sums)]
        for _ in range(max_sweeps):
            before = state.clone()
            for unit in torch.randperm(ξ.shape[1], generator=generator).tolist():
                column = ξ[:, unit]
                rest = sums - state[:, unit, None] * column
                gain = self._energy_at(rest - column) - self._energy_at(rest + column)
                state[:, unit] = align(state[:, unit], gain)
                sums = rest + state[:, unit, None] * column
                energy.append(self._energy_at(sums))
            unchanged = (state == before).all(dim=1)
            if unchanged.all():
                break
        return Relaxation(state, torch.stack(energy), unchanged.int())

    def _energy_at(self, sums: Tensor) -> Tensor:
        size = self.patterns.shape[1]
        # Divided last: the powers are whole numbers, so that ties between two signs are exact.
        return -(sums**self.power).sum(dim=-1) / float(size ** (self.power - 1))
