"""What else a Hopfield network remembers: all its fixed points, spurious ones named, and the basins of the stored."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.memories._inputs import ArrayLike, at_least, signs
from fastweights.memories.hopfield import HopfieldNetwork, Update
from fastweights.memories.patterns import flip
from fastweights.memories.relaxation import align, rounding_of

_LARGEST_ENUMERATED = 20


class Kinds(NamedTuple):
    """For every state, (S,): is it a stored pattern, the inverse of one, a mixture of three, or something else?"""

    stored: Bool[Tensor, " S"]
    inverse: Bool[Tensor, " S"]
    mixture: Bool[Tensor, " S"]
    other: Bool[Tensor, " S"]


def fixed_points(network: HopfieldNetwork) -> Float[Tensor, "S N"]:
    """All states that no update changes, (S, N), found by trying all 2^N; UsageError for N above 20."""
    W = network.weights
    size = len(W)
    if size > _LARGEST_ENUMERATED:
        raise UsageError(f"fixed_points tries 2^N states and needs N ≤ {_LARGEST_ENUMERATED}, got N = {size}")
    codes = torch.arange(2**size, device=W.device)[:, None] >> torch.arange(size, device=W.device)
    states = (2 * (codes & 1) - 1).to(W.dtype)
    return states[(align(states, states @ W.T, rounding_of(W)) == states).all(dim=1)]


def mixtures(patterns: ArrayLike) -> Float[Tensor, "M N"]:
    """The commonest spurious states: sgn(±ξ_a ± ξ_b ± ξ_c) for all triples of patterns (P, N) and all signs.

    Returns (8·C(P,3), N); UsageError for fewer than three patterns.
    """
    ξ = signs("patterns", patterns)
    at_least("number of patterns", len(ξ), 3)
    triples = torch.tensor(list(combinations(range(len(ξ)), 3)), device=ξ.device)
    choices = torch.cartesian_prod(*[ξ.new_tensor([1.0, -1.0])] * 3)
    return torch.einsum("cs,tsn->tcn", choices, ξ[triples]).sign().flatten(0, 1)


def classify(states: ArrayLike, patterns: ArrayLike) -> Kinds:
    """Name states (S, N) by the stored `patterns` (P, N); each is of exactly one kind, the first that fits."""
    ξ = signs("patterns", patterns)
    x = signs("states", states, size=ξ.shape[1], like=ξ)
    stored = _among(x, ξ)
    inverse = _among(x, -ξ) & ~stored
    mixture = _among(x, mixtures(ξ)) & ~stored & ~inverse if len(ξ) >= 3 else torch.zeros_like(stored)
    return Kinds(stored, inverse, mixture, ~(stored | inverse | mixture))


def basin_curve(
    network: HopfieldNetwork,
    patterns: ArrayLike,
    fractions: Sequence[float],
    *,
    trials: int = 1,
    update: Update = "asynchronous",
    generator: torch.Generator | None = None,
) -> Float[Tensor, " fractions"]:
    """How often a stored pattern is recalled without a wrong bit after the given fractions of its bits were flipped.

    Args:
        patterns: the stored ones, (P, N).
        fractions: each in [0, 1].
        trials: flips to try for every pattern and fraction, ≥ 1.
        update, generator: see `HopfieldNetwork.relax`; the generator also chooses what is flipped.
    """
    if not fractions:
        raise UsageError("fractions must name at least one fraction, got an empty sequence")
    ξ = signs("patterns", patterns, like=network.weights).repeat(at_least("trials", trials, 1), 1)
    rates = []
    for fraction in fractions:
        found = network.recall(flip(ξ, fraction, generator=generator), update=update, generator=generator)
        rates.append((found == ξ).all(dim=1).double().mean())
    return torch.stack(rates)


def _among(states: Tensor, patterns: Tensor) -> Tensor:
    """Whether each ±1 state is one of the patterns: only then is an overlap N."""
    return (states @ patterns.T == states.shape[1]).any(dim=1)
