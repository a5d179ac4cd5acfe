"""The fast weights as a memory of their own: a correlation memory that forgets (Ba et al. 2016, eq. 1)."""

from __future__ import annotations

from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError, unknown_name
from fastweights.memories._inputs import at_least, positive
from fastweights.memories.base import Kind, LinearMemory


class DecayingMemory(LinearMemory):
    """A ← λ A + η g fᵀ for each pair in turn, A = 0 at first; g = f = h(t) gives eq. 1 of Ba et al. (2016).

    Args:
        decay: λ in [0, 1].
        learning_rate: η > 0.
    """

    def __init__(self, decay: float = 0.95, learning_rate: float = 1.0) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise UsageError(f"decay must be in [0, 1], got {decay!r}")
        self.decay = decay
        self.learning_rate = positive("learning_rate", learning_rate)

    def _learn(
        self, weights: Float[Tensor, "m n"], keys: Float[Tensor, "P n"], values: Float[Tensor, "P m"]
    ) -> Float[Tensor, "m n"]:
        age = torch.arange(len(keys) - 1, -1, -1, dtype=keys.dtype, device=keys.device)
        strength = self.learning_rate * self.decay**age
        return self.decay ** len(keys) * weights + (values * strength[:, None]).T @ keys


def signal_to_noise(
    decay: float,
    units: int,
    age: int,
    *,
    items: int | None = None,
    kind: Kind,
) -> float:
    """Signal power over mean squared error of recalling the item of age a by its own key.

    With w_b = λ^b, S1 = Σ w_b and S2 = Σ w_b² over all other items, for independent random patterns in {−1, +1}^N:

        heteroassociative:  N λ^{2a} / S2
        autoassociative:    λ^{2a} / (S2/N + (S1² − S2)/N²)

    The second contains the square of the crosstalk's mean, S1/N: A is positive semidefinite, so every item adds to a
    key's recall along the key itself.

    Args:
        decay: λ in (0, 1].
        units: N ≥ 1.
        age: a ≥ 0; the newest item has age 0.
        items: how many are stored, > a; None is infinitely many, for which λ must be below 1.
        kind: whether values are the keys or patterns of their own.
    """
    if not 0 < decay <= 1 or (decay == 1 and items is None):
        raise UsageError(f"decay must be in (0, 1], and below 1 for infinitely many items; got {decay!r}")
    at_least("units", units, 1)
    at_least("age", age, 0)
    if items is not None:
        at_least("items", items, age + 1)
    signal = decay ** (2 * age)
    s1 = _geometric_sum(decay, items) - decay**age
    s2 = _geometric_sum(decay**2, items) - signal
    match kind:
        case "heteroassociative":
            noise = s2 / units
        case "autoassociative":
            noise = s2 / units + (s1**2 - s2) / units**2
        case _:
            raise unknown_name("kind", kind, get_args(Kind))
    return signal / noise if noise else float("inf")


def window(decay: float) -> float:
    """1/(1 − λ²): how many undecayed items make as much crosstalk as all decaying ones together; λ in [0, 1)."""
    if not 0 <= decay < 1:
        raise UsageError(f"decay must be in [0, 1), got {decay!r}")
    return 1 / (1 - decay**2)


def _geometric_sum(ratio: float, terms: int | None) -> float:
    if terms is None:
        return 1 / (1 - ratio)
    return float(terms) if ratio == 1 else (1 - ratio**terms) / (1 - ratio)
