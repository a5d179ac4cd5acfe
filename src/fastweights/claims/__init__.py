"""Every mathematical claim of the seed report as a program with a verdict: one file a section, one function a claim."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

from fastweights import discovery
from fastweights.claims._trained_loop import contraction_along_run
from fastweights.claims.base import Claim, Result, claims_of, matching, run
from fastweights.training.environment import threads

__all__ = ["check", "contraction_along_run", "load", "names", "sections"]


def names() -> tuple[str, ...]:
    """Names of the sections' files, in the order of the report: §4, §4.1, …, §10."""
    return tuple(sorted(discovery.names(__name__), key=lambda name: ([int(n) for n in re.findall(r"\d+", name)], name)))


def load(name: str) -> tuple[str, list[Claim]]:
    """Title and claims of one section, by the name of its file."""
    module = importlib.import_module(f"{__name__}.{name}")
    title = (module.__doc__ or name).splitlines()[0]
    return title, claims_of(module)


def sections(only: str | None = None) -> dict[str, list[Claim]]:
    """Titles of the sections and their claims, in the order of the report; of some, those whose id contains `only`.

    Raises UsageError if there is none.
    """
    loaded = [load(name) for name in names()]
    chosen = {each.id for each in matching([each for _, claims in loaded for each in claims], only)}
    kept: dict[str, list[Claim]] = {}
    for title, claims in loaded:
        for each in claims:
            if each.id in chosen:
                kept.setdefault(title, []).append(each)
    return kept


def check(sections: dict[str, list[Claim]], begin: Callable[[str, str], None]) -> dict[str, list[Result]]:
    """Run every claim's check, one after the other; `begin` is told the section's title and the claim's id before.

    On one thread: the checks' many small products are slower on more, and sums differ with their number.
    """
    ledger: dict[str, list[Result]] = {}
    with threads(1):
        for title, claims in sections.items():
            ledger[title] = []
            for each in claims:
                begin(title, each.id)
                ledger[title].append(run(each))
    return ledger
