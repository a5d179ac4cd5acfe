"""The ledger of claims: for a terminal, as JSON values, as a page of Markdown, and the claims' pictures."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fastweights.claims.base import Claim, Measurement, Result, Verdict
from fastweights.report.figures import save_figure

Ledger = Mapping[str, Sequence[Result]]
"""The results of each section, by its title."""

_STYLES = {
    Verdict.HOLDS: "green",
    Verdict.HOLDS_CORRECTED: "cyan",
    Verdict.REFUTED: "magenta",
    Verdict.NOT_CHECKABLE: "yellow",
}
_PAGE_HEAD = """# The claims of the seed report

`fastweights verify --markdown docs/claims.md` wrote this page. Each statement of the report is held to a program, which
measures the statement as printed and, where that fails, as corrected; ✓ says that a statement survives a measurement, ✗
that it does not. Numbers of the size of rounding errors differ from machine to machine.
"""


def terminal_ledger(ledger: Ledger) -> RenderableType:
    """For rich to print: section by section, each claim with its verdict, its statements and what was measured."""
    return Group(*(part for title, results in ledger.items() for part in _section(title, results)))


def summary(ledger: Ledger) -> str:
    """How many claims came out in which way, how many not as recorded, and how long the checks took."""
    results = _all(ledger)
    counts = Counter(each.verdict for each in results if each.agrees)
    outcomes = "".join(f"{counts[verdict]} {verdict.value}, " for verdict in Verdict if counts[verdict])
    differing = sum(not each.agrees for each in results)
    seconds = sum(each.seconds for each in results)
    noun = "claim" if len(results) == 1 else "claims"
    return f"{len(results)} {noun}: {outcomes}{differing} DIFFER; {seconds:.1f} s"


def difference(result: Result) -> str:
    """In what way a result is not the one on record."""
    if result.error:
        found = result.error
    elif result.verdict is None:
        found = "its measurements contradict each other, or its correction fails"
    else:
        found = f"measured {result.verdict.value}"
    return f"{result.claim.id}: {found}; on record {result.claim.verdict.value}"


def values(ledger: Ledger) -> list[dict[str, Any]]:
    """For JSON: the sections in order, each with its title and its claims."""
    return [{"title": title, "claims": [_claim_values(each) for each in results]} for title, results in ledger.items()]


def markdown_ledger(ledger: Ledger, pictures: Mapping[str, str]) -> str:
    """A page of documentation, the same for the same measurements.

    Args:
        pictures: links to the claims' pictures, by the claims' ids; for some claims or none.
    """
    parts = [_PAGE_HEAD, summary(ledger).partition(";")[0] + ".\n"]
    for title, results in ledger.items():
        parts.append(f"## {_escaped(title)}\n")
        parts += [_entry(each, pictures.get(each.claim.id)) for each in results]
    return "\n".join(parts)


def save_pictures(
    claims: Sequence[Claim], folder: Path, begin: Callable[[str, str], None]
) -> tuple[dict[str, list[Path]], list[str]]:
    """Draw every visual claim as SVG and PNG, the files named after its id.

    A picture that cannot be drawn is no reason to go without the others.

    Args:
        claims: those without a picture are passed over.
        folder: an existing one.
        begin: told "pictures" and the claim's id before each.

    Returns:
        The paths, SVG first, by the claims' ids; and what failed, in words.
    """
    saved, failures = {}, []
    for claim in claims:
        if claim.figure is None:
            continue
        begin("pictures", claim.id)
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        try:
            claim.figure(figure)
            stem = claim.id.replace("/", "-")
            saved[claim.id] = [save_figure(figure, folder / f"{stem}{suffix}") for suffix in (".svg", ".png")]
        except Exception as raised:  # whatever a claim's own code may raise
            failures.append(f"picture of {claim.id}: {type(raised).__name__}: {raised}")
    return saved, failures


def links(pictures: Mapping[str, Sequence[Path]], page: Path) -> dict[str, str]:
    """The first picture of every claim as a link relative to `page`."""
    return {id: Path(os.path.relpath(paths[0], page.parent)).as_posix() for id, paths in pictures.items()}


def _all(ledger: Ledger) -> list[Result]:
    return [each for results in ledger.values() for each in results]


def _section(title: str, results: Sequence[Result]) -> Iterator[RenderableType]:
    yield Text(title, style="bold")
    for each in results:
        yield Text()
        yield from _claim_lines(each)
    yield Text()


def _claim_lines(result: Result) -> Iterator[RenderableType]:
    claim = result.claim
    yield Text.assemble((claim.id, "bold"), "  ", _verdict(result))
    yield _indented("", claim.source, style="dim")
    yield _indented("", claim.printed if claim.corrected is None else f"printed: {claim.printed}")
    yield from (_measured(each) for each in result.evidence.printed)
    if claim.corrected is not None:
        yield _indented("", f"corrected: {claim.corrected}")
        yield from (_measured(each) for each in result.evidence.corrected)
    if result.evidence.why_not:
        yield _indented("", f"not checkable: {result.evidence.why_not}")
    if claim.note:
        yield _indented("", f"note: {claim.note}")


def _verdict(result: Result) -> Text:
    if not result.agrees:
        return Text(f"DIFFERS: {difference(result).partition(': ')[2]}", style="bold red")
    return Text(result.claim.verdict.value, style=_STYLES[result.claim.verdict])


def _measured(measurement: Measurement) -> RenderableType:
    mark, style = ("✓", "green") if measurement.holds else ("✗", "red")
    return _indented(mark, _in_words(measurement), mark_style=style)


def _in_words(measurement: Measurement) -> str:
    return ": ".join(filter(None, (measurement.what, measurement.numbers)))


def _indented(mark: str, text: str, *, style: str = "", mark_style: str = "") -> RenderableType:
    """Text that keeps its distance from the margin when it wraps, the mark before it."""
    line = Table.grid(padding=(0, 1))
    line.add_column(width=5 if mark else 1, justify="right")
    line.add_column()
    line.add_row(Text(mark, style=mark_style), Text(text, style=style))
    return line


def _claim_values(result: Result) -> dict[str, Any]:
    claim = result.claim
    return {
        "id": claim.id,
        "source": claim.source,
        "printed": claim.printed,
        "corrected": claim.corrected,
        "note": claim.note,
        "verdict": None if result.verdict is None else result.verdict.value,
        "verdict_on_record": claim.verdict.value,
        "agrees": result.agrees,
        "evidence": dataclasses.asdict(result.evidence),
        "error": result.error,
        "seconds": result.seconds,
    }


def _entry(result: Result, picture: str | None) -> str:
    claim = result.claim
    found = claim.verdict.value if result.agrees else f"DIFFERS: {_escaped(difference(result).partition(': ')[2])}"
    lines = [f"### {claim.id}: {found}", "", f"*{_escaped(claim.source)}.* {_escaped(claim.printed)}", ""]
    lines += _evidence_list(result.evidence.printed)
    if claim.corrected is not None:
        lines += [f"**Corrected:** {_escaped(claim.corrected)}", "", *_evidence_list(result.evidence.corrected)]
    if result.evidence.why_not:
        lines += [f"**Not checkable:** {_escaped(result.evidence.why_not)}", ""]
    if claim.note:
        lines += [f"Note: {_escaped(claim.note)}", ""]
    if picture is not None:
        lines += [f"![{claim.id}]({picture})", ""]
    return "\n".join(lines)


def _evidence_list(measurements: Sequence[Measurement]) -> list[str]:
    return [f"- {'✓' if each.holds else '✗'} {_escaped(_in_words(each))}" for each in measurements] + [""]


def _escaped(text: str) -> str:
    """The text as Markdown shows it: A_ij and x* are no emphasis, E[x](t) no link, <x, y> no tag."""
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", text)
