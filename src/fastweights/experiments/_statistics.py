"""How sure an error rate is, when it says that nothing was bound, when that a run succeeded, and how soon it did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

# The paper's rows at 60–62 % lie up to 1.5 points under the floor of 61.65 %. Within this much of it, a model has bound
# nothing to speak of. The margin is a convention, not a test: 60.23 % of 20,000 is significantly below the floor.
FLOOR_MARGIN = 0.02


SUCCESS = 0.01
"""A run has learned the task if at most this fraction of its test answers is wrong."""


_Z = 1.959963984540054  # a normal variable is within ± this of its mean with a probability of 95 %


def wilson_interval(errors: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % score interval (1927) for a fraction of which `errors` of `total` were seen; `total` is not 0.

    scipy.stats has it too, and takes half as long to import as torch.
    """
    share, scale = errors / total, 2 * (total + _Z**2)
    centre = (2 * total * share + _Z**2) / scale
    half = _Z / scale * math.sqrt(4 * total * share * (1 - share) + _Z**2)
    return 0.0 if errors == 0 else centre - half, 1.0 if errors == total else centre + half


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


# The paper prints percentages with two decimals: its 0 may be as much as 0.005 %, one wrong answer of 20,000.
ROUNDED = 0.00005

Verdict = Literal["reproduced", "better", "worse"]


def verdict(published: float, errors: Sequence[int], total: int) -> Verdict:
    """Where a published error stands to those of our seeds, given as numbers of wrong answers of `total`.

    "reproduced" if what it may have been rounded from reaches between the lower end of Wilson's interval for the best
    seed and the upper end of that for the worst one; else ours is "better" or "worse".
    """
    if published - ROUNDED > wilson_interval(max(errors), total)[1]:
        return "better"
    return "worse" if published + ROUNDED < wilson_interval(min(errors), total)[0] else "reproduced"


def lower_median(values: Sequence[float]) -> float:
    """The middle value, the lower of two: one that was measured. A run that never got there may count as infinite."""
    return sorted(values)[(len(values) - 1) // 2]


def until_success(metrics: Sequence[dict[str, Any]], key: str) -> float:
    """`key`, "step" or "seconds", of the first evaluation with a validation error within SUCCESS; infinite without."""
    return next((float(m[key]) for m in metrics if m["validation_error"] <= SUCCESS), math.inf)
