"""The face of every memory that is a matrix: store key-value pairs, recall a value by multiplying a key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.memories._inputs import ArrayLike, rows, vectors

Kind = Literal["autoassociative", "heteroassociative"]


class LinearMemory(ABC):
    """A matrix A (m, n) that maps keys f ∈ Rⁿ to values g ∈ Rᵐ. A concrete memory says how A learns, in `_learn`.

    `weights` is A. It takes the dtype and device of the first keys stored; later input is converted to them.
    """

    def __init__(self) -> None:
        self._weights: Tensor | None = None

    @property
    def weights(self) -> Float[Tensor, "m n"]:
        """A as it is now; UsageError while nothing is stored."""
        if self._weights is None:
            raise UsageError(f"{type(self).__name__} is empty: call store before recall")
        return self._weights

    def store(self, keys: ArrayLike, values: ArrayLike | None = None) -> LinearMemory:
        """Add pairs to what is stored, in the order of their rows, and return the memory itself.

        Args:
            keys: (P, n), one key a row.
            values: (P, m); None stores every key as its own value (autoassociation).

        Raises UsageError for ragged, empty, non-finite or mismatched input.
        """
        old = self._weights
        f = rows("keys", keys, size=None if old is None else old.shape[1], like=old)
        g = f if values is None else rows("values", values, size=None if old is None else old.shape[0], like=f)
        if len(f) != len(g):
            raise UsageError(f"keys and values must be paired row by row, got {len(f)} keys and {len(g)} values")
        if old is None:
            old = torch.zeros(g.shape[1], f.shape[1], dtype=f.dtype, device=f.device)
        if old.shape != (g.shape[1], f.shape[1]):
            raise UsageError(f"values must have {old.shape[0]} entries each, as those stored earlier; got {g.shape[1]}")
        self._weights = self._learn(old, f, g)
        return self

    def recall(self, keys: ArrayLike) -> Float[Tensor, "*batch m"]:
        """A f for every key: (..., n) → (..., m)."""
        weights = self.weights
        return vectors("keys", keys, size=weights.shape[1], like=weights) @ weights.T

    @abstractmethod
    def _learn(
        self, weights: Float[Tensor, "m n"], keys: Float[Tensor, "P n"], values: Float[Tensor, "P m"]
    ) -> Float[Tensor, "m n"]:
        """A after the pairs were added to `weights`, which stays as it is."""
