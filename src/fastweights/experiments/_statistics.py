"""How sure an error rate is, and when it says that nothing was bound."""

from __future__ import annotations

from typing import Literal

from scipy.stats import binomtest

# The paper's rows at 60–62 % lie up to 1.5 points under the floor of 61.65 %. Within this much of it, a model has bound
# nothing to speak of. The margin is a convention, not a test: 60.23 % of 20,000 is significantly below the floor.
FLOOR_MARGIN = 0.02


def wilson_interval(errors: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for a fraction of which `errors` of `total` were seen."""
    interval = binomtest(errors, total).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


Standing = Literal["below", "at", "above"]


def standing(error: float, floor: float) -> Standing:
    """Where an error stands to that of knowing which values occurred but not with which key, within FLOOR_MARGIN.

    Where that knowledge nearly suffices, as with a single pair, every error counts as below.
    """
    if floor <= FLOOR_MARGIN or error < floor - FLOOR_MARGIN:
        return "below"
    return "at" if error <= floor + FLOOR_MARGIN else "above"


def standing_remark(error: float, floor: float) -> str | None:
    """What there is to say of an error that is not below the floor."""
    name = f"the no-binding floor ({100 * floor:.2f} %)"
    return {
        "below": None,
        "at": f"within {100 * FLOOR_MARGIN:.0f} points of {name}: no binding learned",
        "above": f"above {name}: not even which values occurred was learned",
    }[standing(error, floor)]
