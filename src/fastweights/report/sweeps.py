"""A sweep as a terminal table, as Markdown, as CSV with a line for each run, as JSON values, and its pictures."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any, get_args

from rich.box import SIMPLE_HEAD
from rich.table import Table

from fastweights.experiments._sweep import Combination, Status, Sweep, pictures
from fastweights.report.figures import save_picture
from fastweights.report.names import label, value_text
from fastweights.training.manifest import settings
from fastweights.training.records import write_atomically

_STATUSES: tuple[Status, ...] = get_args(Status)
# Columns of the CSV file by the keys of a result; those that are settings too get names of their own.
_RESULTS = {
    **{key: key for key in ("reason", "validation_error", "validation_nll", "test_errors", "test_count", "test_nll")},
    **{"best_update": "best_update", "updates": "updates_done", "seconds": "seconds", "backend": "backend_used"},
    **{key: key for key in ("parameters", "cell_parameters", "state_size", "processes", "members")},
}
_MEASURED = ("validation error %", "all seeds", "runs")
_MOST_LINES = 5
_ENVIRONMENT = ("commit", "torch", "processor")


def terminal_table(sweep: Sweep, width: int) -> Table:
    """For rich to print: a row for each combination, the best on validation first.

    Where `width` is too small for a column for each setting, they stand in one, in words.
    """
    columns, rows = _columns(sweep), [_row(each) for each in sweep.combinations]
    settings_count = len(columns) - len(_MEASURED)
    heads = [column.split() for column in columns]
    widths = [max(map(len, (*head, *cells))) + 2 for head, *cells in zip(heads, *rows, strict=True)]
    in_words = sum(widths) > width
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    if in_words:
        table.add_column("settings", overflow="fold")
        rows = [[each.name, *row[settings_count:]] for each, row in zip(sweep.combinations, rows, strict=True)]
    for column in _MEASURED if in_words else columns:
        table.add_column(column.replace(" ", "\n"), justify="left" if column == "runs" else "right", no_wrap=True)
    for each, row in zip(sweep.combinations, rows, strict=True):
        table.add_row(*row, style="bold" if each is sweep.best else None)
    return table


def summary(sweep: Sweep) -> str:
    """How many runs there are and how they stand, and what validation selects, with its test error."""
    counts = {status: sum(entry.status == status for entry in sweep.entries) for status in _STATUSES}
    stand = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    noun = "run" if len(sweep.entries) == 1 else "runs"
    lines = [f"{len(sweep.entries)} {noun}: {stand}"]
    if sweep.best is not None:
        tests = ", ".join(f"{100 * error:.2f}" for error in sweep.best_test_errors())
        lines.append(
            f"best on validation: {sweep.best.name}; median validation error "
            f"{_percent(sweep.best.median_error)} %, test error of each seed {tests} %"
        )
    amiss = [entry for entry in sweep.entries if entry.status in ("failed", "diverged")]
    amiss.sort(key=lambda entry: entry.status, reverse=True)  # what failed first: that can be mended
    for entry in amiss[:_MOST_LINES]:
        why = entry.result["reason"] if entry.result else f"see {entry.run.error_path}"
        lines.append(f"{entry.status}: {entry.run.path.name}: {why}")
    if len(amiss) > _MOST_LINES:
        lines.append(f"and {len(amiss) - _MOST_LINES} more that failed or diverged")
    return "\n".join(lines)


def markdown(sweep: Sweep) -> str:
    """The table and the summary, for a page of documentation."""
    columns = _columns(sweep)
    lines = [columns, ["---"] * len(columns), *(_row(each) for each in sweep.combinations)]
    table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return table + "".join(f"\n{line}\n" for line in summary(sweep).splitlines())


def csv_text(sweep: Sweep) -> str:
    """A line for each run: its id, how it stands, every setting, and every number of its result."""
    names = list(dict.fromkeys(name for entry in sweep.entries for name in settings(entry.config)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "status", *names, *_RESULTS.values(), *_ENVIRONMENT])
    for entry in sweep.entries:
        own, environment = settings(entry.config), entry.result.get("environment", {})
        writer.writerow(
            [
                *(entry.run.path.name, entry.status),
                *(own.get(name) for name in names),
                *(entry.result.get(name) for name in _RESULTS),
                *(environment.get(name) for name in _ENVIRONMENT),
            ]
        )
    return text.getvalue()


def values(sweep: Sweep) -> dict[str, Any]:
    """For JSON."""
    return {
        "combinations": [_values(each) for each in sweep.combinations],
        "best": None if sweep.best is None else _values(sweep.best) | {"test_errors": sweep.best_test_errors()},
    }


def save(sweep: Sweep, folder: Path) -> list[Path]:
    """Write `summary.md`, `summary.json`, `runs.csv` and the pictures as SVG and PNG; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "summary.md": markdown(sweep),
        "summary.json": json.dumps(values(sweep), indent=2) + "\n",
        "runs.csv": csv_text(sweep),
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    saved = [folder / name for name in texts]
    for name, picture in pictures(sweep).items():
        saved += save_picture(picture, folder / name)
    return saved


def _columns(sweep: Sweep) -> list[str]:
    return [*map(label, sweep.combinations[0].settings), *_MEASURED]


def _row(each: Combination) -> list[str]:
    errors = each.validation_errors
    spread = f"{_percent(errors[0])}–{_percent(errors[-1])}" if len(errors) > 1 and math.isfinite(errors[0]) else "–"
    counts = {status: each.count(status) for status in _STATUSES}
    stand = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return [*(value_text(value) for value in each.settings.values()), _percent(each.median_error), spread, stand]


def _percent(error: float | None) -> str:
    if error is None:
        return "–"
    return f"{100 * error:.2f}" if math.isfinite(error) else "diverged"


def _values(each: Combination) -> dict[str, Any]:
    """A run that diverged has no error: null."""
    return {
        "settings": each.settings,
        "seeds": [entry.config.seed for entry in each.entries],
        "validation_errors": [error if math.isfinite(error) else None for error in each.validation_errors],
        "runs": {status: each.count(status) for status in _STATUSES},
    }
