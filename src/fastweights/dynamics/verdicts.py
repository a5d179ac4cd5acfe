"""What a check of a mathematical statement can say: PROVED, REFUTED or UNDECIDED, never a bare True."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Verdict(Enum):
    """The three outcomes of a check."""

    PROVED = "PROVED"
    REFUTED = "REFUTED"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True)
class Finding:
    """A verdict on a claim, with what lets the reader check it again.

    PROVED carries a `certificate` that was rechecked in exact rational arithmetic, REFUTED the `point` at which the
    claim fails; a finding without them cannot be made.
    """

    verdict: Verdict
    claim: str
    reason: str
    certificate: Mapping[str, Any] = field(default_factory=dict)
    point: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.verdict is Verdict.PROVED and not self.certificate:
            raise TypeError(f"PROVED needs a certificate: {self.claim}")
        if self.verdict is Verdict.REFUTED and self.point is None:
            raise TypeError(f"REFUTED needs the point: {self.claim}")

    def __bool__(self) -> bool:
        raise TypeError("a finding is not a truth value: UNDECIDED is neither; compare .verdict")


def proved(claim: str, reason: str, certificate: Mapping[str, Any]) -> Finding:
    """The claim holds; `certificate` has been rechecked exactly."""
    return Finding(Verdict.PROVED, claim, reason, certificate=certificate)


def refuted(claim: str, reason: str, point: tuple[float, ...], **certificate: object) -> Finding:
    """The claim fails at `point`."""
    return Finding(Verdict.REFUTED, claim, reason, certificate=certificate, point=point)


def undecided(claim: str, reason: str) -> Finding:
    """This method can neither prove nor refute the claim."""
    return Finding(Verdict.UNDECIDED, claim, reason)
