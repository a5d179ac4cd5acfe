"""How sure an error rate is, and when it says that nothing was bound."""

from __future__ import annotations

from scipy.stats import binomtest

# The paper's rows at 60–62 % lie up to 1.5 points under the floor of 61.65 %. Within this much of it, a model has bound
# nothing to speak of.
FLOOR_MARGIN = 0.02


def wilson_interval(errors: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for a fraction of which `errors` of `total` were seen."""
    interval = binomtest(errors, total).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def at_floor(error: float, floor: float) -> bool:
    """Whether an error is no better than knowing which values occurred but not with which key.

    Never where that knowledge nearly suffices, as with a single pair.
    """
    return floor > FLOOR_MARGIN and error >= floor - FLOOR_MARGIN
