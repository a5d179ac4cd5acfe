"""The linear associator g = A f under three rules: correlation, pseudo-inverse, and the pseudo-inverse pair by pair."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.memories._inputs import at_least, positive
from fastweights.memories.base import LinearMemory


class CorrelationMemory(LinearMemory):
    """A = η Σ_p g_p f_pᵀ, the outer-product ("generalised Hebb") rule (Anderson 1972; Haykin 2009, p. 698).

    Recall is exact, up to the factor η, for orthonormal keys. Otherwise the other pairs add crosstalk
    η Σ_{q≠p} g_q (f_qᵀ f_p): see `crosstalk_variance`.

    Args:
        learning_rate: η > 0.
    """

    def __init__(self, learning_rate: float = 1.0) -> None:
        super().__init__()
        self.learning_rate = positive("learning_rate", learning_rate)

    def _learn(
        self, weights: Float[Tensor, "m n"], keys: Float[Tensor, "P n"], values: Float[Tensor, "P m"]
    ) -> Float[Tensor, "m n"]:
        return torch.addmm(weights, values.T, keys, alpha=self.learning_rate)


class PseudoInverseMemory(LinearMemory):
    """A = G F⁺, least squares over all pairs; exact for linearly independent keys (Kohonen & Ruohonen 1973).

    F and G hold the keys and values as columns. All pairs are kept and A is solved for anew by each `store`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def _learn(
        self, weights: Float[Tensor, "m n"], keys: Float[Tensor, "P n"], values: Float[Tensor, "P m"]
    ) -> Float[Tensor, "m n"]:
        self._pairs.append((keys, values))
        all_keys, all_values = (torch.cat(part) for part in zip(*self._pairs, strict=True))
        transposed: Tensor = torch.linalg.pinv(all_keys) @ all_values
        return transposed.T


class IncrementalMemory(LinearMemory):
    """The pseudo-inverse memory learned one pair at a time without keeping the pairs (Greville 1960).

    Beside A it carries P = F F⁺, the projector onto the keys so far, and Q = (F Fᵀ)⁺. A pair (f, g) changes A by
    (g − A f) bᵀ: along the key's new direction c = f − P f if there is one, b = c/‖c‖²; else, as recursive least
    squares does, along b = Q f/(1 + fᵀQ f).

    Args:
        tolerance: a key counts as dependent on the earlier ones if ‖c‖ ≤ tolerance · ‖f‖; None is the square root of
            the machine epsilon of the keys' dtype.
    """

    def __init__(self, tolerance: float | None = None) -> None:
        super().__init__()
        self.tolerance = None if tolerance is None else positive("tolerance", tolerance)
        self._projector: Tensor | None = None
        self._inverse_gram: Tensor | None = None

    def _learn(
        self, weights: Float[Tensor, "m n"], keys: Float[Tensor, "P n"], values: Float[Tensor, "P m"]
    ) -> Float[Tensor, "m n"]:
        zeros = weights.new_zeros(keys.shape[1], keys.shape[1])
        tolerance = self.tolerance or math.sqrt(torch.finfo(keys.dtype).eps)
        P = zeros if self._projector is None else self._projector
        Q = zeros if self._inverse_gram is None else self._inverse_gram
        for f, g in zip(keys, values, strict=True):
            q = Q @ f
            c = f - P @ f
            if c.norm() > tolerance * f.norm():
                b = c / (c @ c)
                P = P + torch.outer(c, b)
                Q = Q - torch.outer(q, b) - torch.outer(b, q) + (1 + f @ q) * torch.outer(b, b)
            else:
                b = q / (1 + f @ q)
                Q = Q - torch.outer(b, q)
            weights = weights + torch.outer(g - weights @ f, b)
        self._projector, self._inverse_gram = P, Q
        return weights


def load(items: int, units: int) -> float:
    """s/N: stored items for each unit (Haykin 2009, p. 39), not a share of units set aside for storage."""
    return at_least("items", items, 0) / at_least("units", units, 1)


def crosstalk_variance(items: int, units: int) -> float:
    """(s−1)/N: variance of each recalled entry in the correlation memory, relative to the values' own.

    For s pairs with independent random keys of unit length in R^N, and values of independent zero-mean entries.
    """
    return (at_least("items", items, 1) - 1) / at_least("units", units, 1)


def bit_error(items: int, units: int) -> float:
    """½ erfc √(N / 2(s−1)): how often the sign of a recalled ±1 entry is wrong, for large s and N."""
    variance = crosstalk_variance(items, units)
    return 0.5 * math.erfc(1 / math.sqrt(2 * variance)) if variance else 0.0
