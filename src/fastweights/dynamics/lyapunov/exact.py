"""Definiteness of symmetric matrices in exact rational arithmetic: what every PROVED rests on.

A float is a rational number, so nothing is lost on the way in: what is decided is decided for the very matrix given.
"""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np
from torch import Tensor

# Arrays of Fraction: numpy's `@`, `+` and `.T` work on them element by element.
Rational = np.ndarray[tuple[int, ...], np.dtype[Any]]


def rational(matrix: Tensor | np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Rational:
    """The floats of `matrix` as the fractions that they are."""
    entries = np.asarray(matrix.detach().double().cpu() if isinstance(matrix, Tensor) else matrix)
    fractions: Rational = np.vectorize(Fraction, otypes=[object])(entries)
    return fractions


def is_positive_definite(matrix: Rational) -> bool:
    """Whether xᵀMx > 0 for every x ≠ 0, for a symmetric M."""
    return _rank_if_semidefinite(matrix) == len(matrix)


def is_positive_semidefinite(matrix: Rational) -> bool:
    """Whether xᵀMx ≥ 0 for every x, for a symmetric M."""
    return _rank_if_semidefinite(matrix) is not None


def _rank_if_semidefinite(matrix: Rational) -> int | None:
    """The rank of a positive semidefinite matrix, None for any other.

    Bareiss's elimination: on integers, symmetric pivots on the diagonal; each pivot is a principal minor, and every
    division is without remainder.
    """
    if not bool((matrix == matrix.T).all()):
        return None
    scale = lcm(*(Fraction(entry).denominator for entry in matrix.flat))
    rest = np.vectorize(lambda entry: int(entry * scale), otypes=[object])(matrix)
    previous, rank = 1, 0
    while len(rest):
        diagonal = list(rest.diagonal())
        if min(diagonal) < 0:
            return None
        if max(diagonal) == 0:
            return rank if not rest.any() else None
        at = diagonal.index(max(diagonal))
        order = [at, *(i for i in range(len(rest)) if i != at)]
        rest = rest[np.ix_(order, order)]
        pivot, column = rest[0, 0], rest[1:, 0]
        rest = (rest[1:, 1:] * pivot - np.outer(column, column)) // previous
        previous, rank = pivot, rank + 1
    return rank
