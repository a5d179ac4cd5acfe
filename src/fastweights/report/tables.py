"""An experiment's rows as a terminal table, as Markdown and as JSON values."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from fastweights.experiments.base import Outcome, Row
from fastweights.report.names import label

_COLUMNS = (
    *(
        "model",
        "R",
        "variant",
        "error %",
        "95 % CI",
        "paper %",
        "verdict",
        "≤ 1 %",
        "updates to 1 %",
        "s to 1 %",
        "NLL",
        "updates",
        "s",
    ),
    *("parameters", "state", "backend"),
)
_FEW_COLUMNS = ("model", "R", "variant", "error %", "paper %", "verdict", "≤ 1 %")
_FEWEST_COLUMNS = ("model", "R", "variant", "error %", "paper %")
# Left out where no row has anything there.
_OPTIONAL_COLUMNS = ("variant", "paper %", "verdict")
_NOTHING = "–"
_FULL_WIDTH, _FEW_WIDTH = 140, 60
_WORDS = ("model", "variant", "verdict", "backend")


def terminal_table(outcome: Outcome, width: int) -> Table:
    """For rich to print, with the remarks below; where it is narrow, some columns are left to table.md."""
    wanted = _COLUMNS if width >= _FULL_WIDTH else _FEW_COLUMNS if width >= _FEW_WIDTH else _FEWEST_COLUMNS
    columns = [column for column in _columns(outcome) if column in wanted]
    table = Table(
        title=f"{outcome.title} ({outcome.preset})",
        title_justify="left",
        caption="\n".join(remarks(outcome)),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=True)
    for row in outcome.rows:
        cells = _cells(row)
        table.add_row(
            *(cells[column] for column in columns), style="yellow" if row.floor_remark or row.diverged else None
        )
    return table


def markdown_table(outcome: Outcome) -> str:
    """For a README or a page of documentation."""
    columns = _columns(outcome)
    rules = ["---" if column in _WORDS else "---:" for column in columns]
    lines = [columns, rules, *([_cells(row)[column] for column in columns] for row in outcome.rows)]
    table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return table + "".join(f"\n{remark}\n" for remark in remarks(outcome))


def remarks(outcome: Outcome) -> list[str]:
    """What a number alone does not say: no binding learned, the spread over seeds, runs that diverged."""
    said = []
    for row in outcome.rows:
        facts = []
        if row.floor_remark:
            facts.append(row.floor_remark)
        if row.runs > 1 and row.errors:
            each = ", ".join(f"{100 * error:.2f}" for error in row.errors)
            facts.append(f"median of {row.runs} seeds: {each} %")
        facts += [f"diverged ({reason})" for reason in row.diverged]
        if row.remark:
            facts.append(row.remark)
        if facts:
            which = f"{label(row.cell)}, R = {row.hidden_size}" + (f", {row.variant}" if row.variant else "")
            said.append(f"{which}: {'; '.join(facts)}.")
    return said


def table_values(outcome: Outcome) -> dict[str, Any]:
    """For JSON."""
    return {
        "title": outcome.title,
        "preset": outcome.preset,
        "no_binding_floor_error": outcome.floor_error,
        "rows": [dataclasses.asdict(row) for row in outcome.rows],
    }


def _columns(outcome: Outcome) -> list[str]:
    lines = [_cells(row) for row in outcome.rows]
    return [
        column
        for column in _COLUMNS
        if column not in _OPTIONAL_COLUMNS or any(line[column] != _NOTHING for line in lines)
    ]


def _cells(row: Row) -> dict[str, str]:
    """The text in each of `_COLUMNS`."""
    texts = (
        label(row.cell),
        str(row.hidden_size),
        row.variant or _NOTHING,
        _number(row.error, 100.0),
        _NOTHING if row.interval is None else f"{100 * row.interval[0]:.2f}–{100 * row.interval[1]:.2f}",
        _number(row.published, 100.0),
        row.verdict or _NOTHING,
        f"{row.successes}/{row.runs}",
        _NOTHING if row.updates_to_success is None else f"{row.updates_to_success:,.0f}",
        _number(row.seconds_to_success, digits=0),
        _number(row.nll, digits=3),
        f"{row.updates:,}",
        f"{row.seconds:.0f}",
        _NOTHING if row.parameters is None else f"{row.parameters:,}",
        _NOTHING if row.state_size is None else f"{row.state_size:,}",
        row.backend,
    )
    return dict(zip(_COLUMNS, texts, strict=True))


def _number(value: float | None, factor: float = 1.0, digits: int = 2) -> str:
    return _NOTHING if value is None else f"{value * factor:.{digits}f}"
