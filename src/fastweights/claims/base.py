"""What a claim is: a statement of the seed report, a check that measures it, and the verdict on record.

The verdict of a run is worked out from what its check measured, never taken from the record; `Result.agrees` compares
the two.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType
from typing import TYPE_CHECKING

from fastweights.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Verdict(Enum):
    """What becomes of a statement."""

    HOLDS = "HOLDS"
    """True as printed."""
    HOLDS_CORRECTED = "HOLDS CORRECTED"
    """False as printed, true as corrected."""
    REFUTED = "REFUTED"
    """False as printed, and no correction of it is the same claim."""
    NOT_CHECKABLE = "NOT CHECKABLE"
    """No program can decide it."""


@dataclass(frozen=True)
class Measurement:
    """One thing that was found: in words, with its numbers, and whether the statement survives it."""

    what: str
    holds: bool
    numbers: str
    """Measured value, what it was compared with, and the tolerance; empty for an exact or symbolic step."""


def fact(what: str, holds: bool | None, numbers: str = "") -> Measurement:
    """An exact or symbolic step, or a finding without an order, that comes out true or false.

    None, with which sympy says that it cannot tell, is no counterexample: ArithmeticError.
    """
    if holds is None:
        raise ArithmeticError(f"{what}: undecided")
    return Measurement(what, bool(holds), numbers)


def close(what: str, measured: float, expected: float, tolerance: float) -> Measurement:
    """|measured − expected| ≤ tolerance, absolute, 0 ≤ tolerance < ∞; no infinity is close to another."""
    _not_nan(what, measured, expected, tolerance, measured - expected)
    if not 0 <= tolerance < math.inf:
        raise ArithmeticError(f"{what}: the tolerance must be finite and at least 0, got {tolerance!r}")
    holds = abs(measured - expected) <= tolerance
    return Measurement(what, bool(holds), f"{measured:.6g}, expected {expected:.6g} ± {tolerance:.2g}")


def below(what: str, measured: float, bound: float) -> Measurement:
    """measured ≤ bound < ∞."""
    _not_nan(what, measured, bound)
    _can_fail(what, bound, math.inf)
    return Measurement(what, bool(measured <= bound), f"{measured:.6g}, at most {bound:.6g}")


def above(what: str, measured: float, bound: float) -> Measurement:
    """measured ≥ bound > −∞; an overflow to infinity is above."""
    _not_nan(what, measured, bound)
    _can_fail(what, bound, -math.inf)
    return Measurement(what, bool(measured >= bound), f"{measured:.6g}, at least {bound:.6g}")


def _not_nan(what: str, *values: float) -> None:
    # A NaN fails every comparison, and would pass for a counterexample.
    if any(math.isnan(value) for value in values):
        raise ArithmeticError(f"{what}: measured NaN")


def _can_fail(what: str, bound: float, vacuous: float) -> None:
    if bound == vacuous:
        raise ArithmeticError(f"{what}: every number satisfies the bound {bound}")


@dataclass(frozen=True)
class Evidence:
    """What a check measured: of the statement as printed, and of the statement as corrected.

    Each measurement under `printed` must come out the same way: all hold, or each is a counterexample. A claim of
    several parts with different fates is several claims.
    """

    printed: tuple[Measurement, ...] = ()
    corrected: tuple[Measurement, ...] = ()
    why_not: str = ""
    """Why nothing can be measured."""

    def verdict(self) -> Verdict | None:
        """The verdict that these measurements give; None if they contradict each other or a correction fails."""
        if self.why_not:
            return None if self.printed or self.corrected else Verdict.NOT_CHECKABLE
        outcomes = {measurement.holds for measurement in self.printed}
        if len(outcomes) != 1 or not all(measurement.holds for measurement in self.corrected):
            return None
        if outcomes == {True}:
            return Verdict.HOLDS
        return Verdict.HOLDS_CORRECTED if self.corrected else Verdict.REFUTED


@dataclass(frozen=True)
class Claim:
    """A statement, where it stands, and the program that decides it."""

    id: str
    """`section/name`, as in "4.1/orthogonal-keys"."""
    source: str
    """Section, and equation or sentence, of the seed; its final version or the paper where it says so."""
    printed: str
    corrected: str | None
    """The statement as it holds; None where the printed one does, or where nothing of it can be kept."""
    verdict: Verdict
    """The verdict on record."""
    check: Callable[[], Evidence]
    note: str
    """What is true instead of a refuted statement, and references; may be empty."""
    figure: Callable[[Figure], None] | None
    """Draws the claim's picture."""


@dataclass(frozen=True)
class Result:
    """What came of running one claim's check."""

    claim: Claim
    evidence: Evidence
    error: str
    """What the check raised; empty if it ended."""
    seconds: float
    verdict: Verdict | None = field(init=False)
    """None: the check failed, or its measurements contradict each other."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdict", None if self.error else self.evidence.verdict())

    @property
    def agrees(self) -> bool:
        """Whether the verdict is the one on record."""
        return self.verdict is self.claim.verdict


def claim(
    id: str,
    *,
    source: str,
    printed: str,
    verdict: Verdict,
    corrected: str | None = None,
    note: str = "",
    figure: Callable[[Figure], None] | None = None,
) -> Callable[[Callable[[], Evidence]], Claim]:
    """Make a check, a function without arguments, into the claim that it decides.

    Raises TypeError for a claim that is corrected without a correction, or has one that its verdict does not speak of.
    """
    if (corrected is not None) != (verdict is Verdict.HOLDS_CORRECTED):
        raise TypeError(f"claim {id}: a corrected statement goes with the verdict HOLDS CORRECTED, and with no other")
    return lambda check: Claim(id, source, printed, corrected, verdict, check, note, figure)


def claims_of(module: ModuleType) -> list[Claim]:
    """The claims that a module defines, in the order of its text."""
    return [value for value in vars(module).values() if isinstance(value, Claim)]


def run(claim: Claim) -> Result:
    """Run the check; what it raises is part of the result."""
    began = time.perf_counter()
    evidence, error = Evidence(), ""
    try:
        evidence = claim.check()
        if evidence.corrected and claim.corrected is None:
            raise TypeError("the check measures a corrected statement, and the claim has none")
    except Exception as raised:  # a broken check must not hide the others' verdicts
        error = f"{type(raised).__name__}: {raised}"
    return Result(claim, evidence, error, time.perf_counter() - began)


def matching(claims: list[Claim], pattern: str | None) -> list[Claim]:
    """Claims whose id contains `pattern`; all for None. Raises UsageError if there is none."""
    chosen = [each for each in claims if pattern is None or pattern in each.id]
    if not chosen:
        near = difflib.get_close_matches(pattern or "", [each.id for each in claims], n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"only={pattern!r} matches no claim: {hint}`fastweights verify --list` lists all")
    return chosen
