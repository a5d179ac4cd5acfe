"""Table 1 of Ba et al. (2016): test error of associative retrieval for four models at three sizes (Section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastweights.experiments import _published
from fastweights.experiments._section_4_1 import Section41
from fastweights.experiments._statistics import (
    SUCCESS,
    lower_median,
    standing_remark,
    until_success,
    verdict,
    wilson_interval,
)
from fastweights.experiments.base import Outcome, Row, result_of
from fastweights.experiments.figure_2 import learning_curves
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training.records import RunDirectory


class Table1(Section41):
    """Claim: with few units, fast weights bind keys to values and the baselines do not; with 100 units all do."""

    hidden_sizes = (20, 50, 100)

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        groups: dict[tuple[str, int], list[RunDirectory]] = {}
        for run in runs:
            config = run.config()
            groups.setdefault((config.cell, config.hidden_size), []).append(run)
        floor = AssociativeRetrieval().no_binding_floor().error
        order = _published.table("table_1")["rows"]
        rows = [_row(cell, size, group, floor) for (cell, size), group in groups.items()]
        rows.sort(key=lambda row: (row.hidden_size, order.index(row.cell)))
        title = _published.table("table_1")["title"]
        return Outcome(title, preset, floor, rows, {"figure-2": learning_curves(runs)})


def _row(cell: str, size: int, runs: Sequence[RunDirectory], floor: float) -> Row:
    results = [result_of(run) for run in runs]
    # A run that diverged stays among the errors with what it had reached; it is named in the row besides.
    tested = sorted((r for r in results if r["test_errors"] is not None), key=lambda r: r["test_errors"])
    middle = tested[(len(tested) - 1) // 2] if tested else None
    error = middle["test_errors"] / middle["test_count"] if middle else None
    percent = _published.value("table_1", cell, size)
    published = None if percent is None else percent / 100
    shown = middle or results[0]
    return Row(
        cell=cell,
        hidden_size=size,
        error=error,
        interval=wilson_interval(middle["test_errors"], middle["test_count"]) if middle else None,
        errors=tuple(r["test_errors"] / r["test_count"] for r in tested),
        successes=sum(r["status"] == "finished" and r["test_errors"] <= SUCCESS * r["test_count"] for r in tested),
        runs=len(runs),
        published=published,
        verdict=None
        if published is None or middle is None
        else verdict(published, [r["test_errors"] for r in tested], middle["test_count"]),
        updates_to_success=_until_success(runs, "step"),
        seconds_to_success=_until_success(runs, "seconds"),
        nll=middle["test_nll"] if middle else None,
        updates=shown["updates"],
        seconds=shown["seconds"],
        backend=shown["backend"],
        parameters=shown.get("cell_parameters"),
        state_size=shown.get("state_size"),
        floor_remark=None if error is None else standing_remark(error, floor),
        diverged=tuple(f"seed {r['config']['seed']}: {r['reason']}" for r in results if r["status"] == "diverged"),
        settings={key: shown["config"][key] for key in ("learning_rate", "schedule", "cell_options")},
    )


def _until_success(runs: Sequence[RunDirectory], key: str) -> float | None:
    median = lower_median([until_success(run.metrics(), key) for run in runs])
    return median if math.isfinite(median) else None
