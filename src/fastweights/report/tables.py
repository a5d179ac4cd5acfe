"""An experiment's rows as a terminal table, as Markdown and as JSON values."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.table import Table

from fastweights.experiments.base import Outcome, Row
from fastweights.report.names import label

_COLUMNS = (
    "model",
    "R",
    "error %",
    "95 % interval",
    "published %",
    "NLL",
    "updates",
    "seconds",
    "backend",
    "remark",
)


def terminal_table(outcome: Outcome) -> Table:
    """For rich to print."""
    table = Table(title=f"{outcome.title} ({outcome.preset})", title_justify="left")
    for column in _COLUMNS:
        numeric = column not in ("model", "backend", "remark")
        table.add_column(column, justify="right" if numeric else "left", no_wrap=column != "remark")
    for row in outcome.rows:
        table.add_row(*_cells(row, outcome), style="yellow" if row.at_floor or row.diverged else None)
    return table


def markdown_table(outcome: Outcome) -> str:
    """For a README or a page of documentation."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    lines += ["| " + " | ".join(_cells(row, outcome)) + " |" for row in outcome.rows]
    return "\n".join(lines) + "\n"


def table_values(outcome: Outcome) -> dict[str, Any]:
    """For JSON."""
    return {
        "title": outcome.title,
        "preset": outcome.preset,
        "no_binding_floor_error": outcome.floor_error,
        "rows": [dataclasses.asdict(row) for row in outcome.rows],
    }


def _cells(row: Row, outcome: Outcome) -> tuple[str, ...]:
    interval = "–" if row.interval is None else f"{100 * row.interval[0]:.2f}–{100 * row.interval[1]:.2f}"
    return (
        label(row.cell),
        str(row.hidden_size),
        _number(row.error, 100),
        interval,
        _number(row.published, 100),
        _number(row.nll, digits=3),
        f"{row.updates:,}",
        f"{row.seconds:.0f}",
        row.backend,
        _remark(row, outcome.floor_error),
    )


def _remark(row: Row, floor: float) -> str:
    remarks = []
    if row.at_floor:
        remarks.append(f"at the no-binding floor ({100 * floor:.2f} %)")
    if len(row.errors) > 1:
        low, high = row.errors[0], row.errors[-1]
        remarks.append(f"median of {len(row.errors)} seeds, {100 * low:.2f}–{100 * high:.2f} %")
    remarks += [f"diverged: {reason}" for reason in row.diverged]
    return "; ".join(remarks)


def _number(value: float | None, factor: float = 1.0, digits: int = 2) -> str:
    return "–" if value is None else f"{value * factor:.{digits}f}"
