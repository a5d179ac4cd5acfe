"""What theory says of the Hopfield network with Hebb's rule and random patterns, at load α = P/N."""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy.optimize import brentq, minimize_scalar
from scipy.special import erf, erfc

from fastweights.errors import UsageError
from fastweights.memories._inputs import at_least, positive


class CriticalPoint(NamedTuple):
    """The largest load with recall states, their overlap m with the pattern there, and the fraction of wrong bits."""

    load: float
    overlap: float
    bit_error: float


def first_step_error(load: float) -> float:
    """½ erfc √(1/2α): the fraction of a stored pattern's bits that the first synchronous update turns; α > 0."""
    return 0.5 * math.erfc(math.sqrt(0.5 / positive("load", load)))


def critical_point() -> CriticalPoint:
    """α_c = 0.1379: Amit, Gutfreund & Sompolinsky (1985), replica-symmetric, at zero temperature.

    Recall states solve √(2α) = F(y) = erf(y)/y − (2/√π) e^{−y²}, m = erf(y), so α_c is the maximum of F²/2.
    """
    y = _fold()
    return CriticalPoint(_sqrt_twice_load(y) ** 2 / 2, float(erf(y)), float(erfc(y)) / 2)


def retrieval_overlap(load: float) -> float:
    """m = erf(y) of the stable recall state at load α: the larger root of √(2α) = F(y); 0 above α_c, where none is."""
    target = math.sqrt(2 * positive("load", load))
    y = _fold()
    if target > _sqrt_twice_load(y):
        return 0.0
    # Beyond the fold F falls, and F(y) < 1/y; twice as far, rounding cannot undo that.
    root = brentq(lambda y: _sqrt_twice_load(y) - target, y, 2 / target, xtol=1e-14)
    return float(erf(root))


def error_free_capacity(units: int) -> float:
    """N/(2 ln N): patterns of which almost all are fixed points without a wrong bit, N ≥ 2 (McEliece et al. 1987)."""
    return at_least("units", units, 2) / (2 * math.log(units))


def storkey_capacity(units: int) -> float:
    """N/√(2 ln N): the same for the rule of Storkey (1997), N ≥ 2."""
    return at_least("units", units, 2) / math.sqrt(2 * math.log(units))


def dense_capacity(units: int, power: int) -> float:
    """N^{n−1} / (2 (2n−3)!! ln N): the same for energy −Σ (ξᵀx)ⁿ (Krotov & Hopfield 2016), N ≥ 2 and n ≥ 2."""
    at_least("power", power, 2)
    double_factorial = math.prod(range(1, 2 * power - 2, 2))
    try:
        # Whole numbers do not overflow; their quotient may.
        capacity: float = at_least("units", units, 2) ** (power - 1) / (2 * double_factorial) / math.log(units)
    except OverflowError as error:
        raise UsageError(f"power = {power} with {units} units gives a capacity above 1e308; decrease one") from error
    return capacity


def _sqrt_twice_load(y: float) -> float:
    return float(erf(y)) / y - 2 / math.sqrt(math.pi) * math.exp(-(y**2))


def _fold() -> float:
    """The y > 0 at which F is largest, as the root of F', which pins it down to machine precision."""
    top = minimize_scalar(lambda y: -_sqrt_twice_load(y), bounds=(0.5, 3), method="bounded").x

    def slope(y: float) -> float:
        return 2 / math.sqrt(math.pi) * math.exp(-(y**2)) * (1 / y + 2 * y) - float(erf(y)) / y**2

    return float(brentq(slope, top - 0.1, top + 0.1, xtol=1e-15))
