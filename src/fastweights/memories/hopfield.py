"""The binary Hopfield network (Hopfield 1982): an autoassociative memory whose states descend an energy."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError, unknown_name
from fastweights.memories import storage
from fastweights.memories._inputs import ArrayLike, at_least, rows, signs, square, vectors
from fastweights.memories.relaxation import Relaxation, align, rounding_of

StorageRule = Literal["hebb", "storkey", "pseudo-inverse"]
Update = Literal["asynchronous", "synchronous"]
_RULES = {"hebb": storage.hebb, "storkey": storage.storkey, "pseudo-inverse": storage.projection}


class HopfieldNetwork:
    """N units x_i ← sgn(Σ_j W_ij x_j), a field of zero changing nothing, with energy E = −½ xᵀW x.

    Updated one after the other (asynchronously) with symmetric W of non-negative diagonal, E never rises and a fixed
    point is reached. Updated together, a symmetric W leads to a fixed point or to a cycle of two states (Goles,
    Fogelman & Pellegrin 1985).

    Args:
        rule: how `store` changes W: "hebb", "storkey" or "pseudo-inverse"; see `fastweights.memories.storage`.
        self_coupling: keep W's diagonal when units are updated. Without it basins are larger.
    """

    def __init__(self, rule: StorageRule = "hebb", *, self_coupling: bool = False) -> None:
        if rule not in get_args(StorageRule):
            raise unknown_name("rule", rule, get_args(StorageRule))
        self.rule: StorageRule = rule
        self.self_coupling = self_coupling
        self._learned: Tensor | None = None

    @staticmethod
    def from_weights(weights: ArrayLike) -> HopfieldNetwork:
        """The network with the given W, (N, N), symmetric or not, diagonal included."""
        network = HopfieldNetwork(self_coupling=True)
        network._learned = square("weights", weights)
        return network

    @property
    def weights(self) -> Float[Tensor, "N N"]:
        """W as the updates use it; UsageError while nothing is stored."""
        if self._learned is None:
            raise UsageError("HopfieldNetwork is empty: call store before recall")
        return self._learned if self.self_coupling else self._learned.clone().fill_diagonal_(0)

    def store(self, patterns: ArrayLike) -> HopfieldNetwork:
        """Add ±1 patterns, (P, N), to what is stored, and return the network itself.

        Raises UsageError for ragged, empty or non-binary patterns or ones of another length than those stored.
        """
        old = self._learned
        new = signs("patterns", patterns, size=None if old is None else len(old), like=old)
        self._learned = _RULES[self.rule](new.new_zeros(new.shape[1], new.shape[1]) if old is None else old, new)
        return self

    def energy(self, states: ArrayLike) -> Float[Tensor, "*batch"]:
        """E = −½ xᵀW x of every state, (..., N) → (...)."""
        W = self.weights
        return _energy(W, vectors("states", states, size=len(W), like=W))

    def recall(
        self,
        probes: ArrayLike,
        *,
        update: Update = "asynchronous",
        max_sweeps: int = 100,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B N"]:
        """The states that the probes run to; arguments and errors as for `relax`."""
        return self.relax(probes, update=update, max_sweeps=max_sweeps, generator=generator).state

    def relax(
        self,
        probes: ArrayLike,
        *,
        update: Update = "asynchronous",
        max_sweeps: int = 100,
        generator: torch.Generator | None = None,
    ) -> Relaxation:
        """Run until no probe changes any more, recording the energy after every step.

        Args:
            probes: (B, N) of −1, +1, and 0 for an entry that is not known.
            update: "asynchronous" updates the units one by one, in a new random order each sweep; "synchronous" all at
                once from the same state.
            max_sweeps: updates of every unit, at most.
            generator: for the orders, on the CPU.

        Raises UsageError for probes of another shape or with other entries.
        """
        W = self.weights
        start = rows("probes", probes, size=len(W), like=W)
        if not torch.isin(start, start.new_tensor([-1, 0, 1])).all():
            raise UsageError("probes must consist of −1, +1 and 0 (not known); map 0/1 patterns by 2x − 1")
        at_least("max_sweeps", max_sweeps, 1)
        match update:
            case "asynchronous":
                return _one_by_one(W, start, max_sweeps, generator)
            case "synchronous":
                return _together(W, start, max_sweeps)
            case _:
                raise unknown_name("update", update, get_args(Update))


def _energy(W: Tensor, x: Tensor) -> Tensor:
    return -0.5 * ((x @ W) * x).sum(dim=-1)


def _one_by_one(W: Tensor, start: Tensor, max_sweeps: int, generator: torch.Generator | None) -> Relaxation:
    state = start.clone()
    # E sees only the symmetric part of W, whereas the field is the row of W itself.
    symmetric = (W + W.T) / 2
    diagonal, rounding = W.diagonal(), rounding_of(W)
    energies = [_energy(W, start)]
    for _ in range(max_sweeps):
        before = state.clone()
        for unit in torch.randperm(len(W), generator=generator).tolist():
            value = state[:, unit]
            change = align(value, state @ W[unit], rounding[unit]) - value
            slope = state @ symmetric[unit] + 0.5 * diagonal[unit] * change
            energies.append(energies[-1] - change * slope)
            state[:, unit] += change
        unchanged = (state == before).all(dim=1)
        if unchanged.all():
            break
    return Relaxation(state, torch.stack(energies), unchanged.int())


def _together(W: Tensor, start: Tensor, max_sweeps: int) -> Relaxation:
    rounding = rounding_of(W)
    before, state = start, align(start, start @ W.T, rounding)
    energy = [_energy(W, start), _energy(W, state)]
    period = (state == start).all(dim=1).int()
    for _ in range(max_sweeps - 1):
        if (period > 0).all():
            break
        after = align(state, state @ W.T, rounding)
        energy.append(_energy(W, after))
        period = torch.where((after == before).all(dim=1), 2, 0)
        period = torch.where((after == state).all(dim=1), 1, period)
        before, state = state, after
    return Relaxation(state, torch.stack(energy), period.int())
