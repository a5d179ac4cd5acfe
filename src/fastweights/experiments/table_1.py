"""Table 1 of Ba et al. (2016): test error of associative retrieval for four models at three sizes (Section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastweights.experiments import _published
from fastweights.experiments._section_4_1 import Section41
from fastweights.experiments._statistics import standing_remark, wilson_interval
from fastweights.experiments.base import Outcome, Row, result_of
from fastweights.experiments.figure_2 import learning_curves
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training.records import RunDirectory


class Table1(Section41):
    """Claim: with few units, fast weights bind keys to values and the baselines do not; with 100 units all do."""

    hidden_sizes = (20, 50, 100)

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for result in map(result_of, runs):
            groups.setdefault((result["config"]["cell"], result["config"]["hidden_size"]), []).append(result)
        floor = AssociativeRetrieval().no_binding_floor().error
        order = _published.table("table_1")["rows"]
        rows = [_row(cell, size, group, floor) for (cell, size), group in groups.items()]
        rows.sort(key=lambda row: (row.hidden_size, order.index(row.cell)))
        title = _published.table("table_1")["title"]
        return Outcome(title, preset, floor, rows, {"figure-2": learning_curves(runs)})


def _row(cell: str, size: int, results: list[dict[str, Any]], floor: float) -> Row:
    tested = sorted((r for r in results if r["test_errors"] is not None), key=lambda r: r["test_errors"])
    # A run that diverged stays among the errors with what it had reached; it is named in the row besides.
    middle = tested[(len(tested) - 1) // 2] if tested else None
    error = middle["test_errors"] / middle["test_count"] if middle else None
    published = _published.value("table_1", cell, size)
    shown = middle or results[0]
    return Row(
        cell=cell,
        hidden_size=size,
        error=error,
        interval=wilson_interval(middle["test_errors"], middle["test_count"]) if middle else None,
        errors=tuple(r["test_errors"] / r["test_count"] for r in tested),
        published=None if published is None else published / 100,
        nll=middle["test_nll"] if middle else None,
        updates=shown["updates"],
        seconds=shown["seconds"],
        backend=shown["backend"],
        floor_remark=None if error is None else standing_remark(error, floor),
        diverged=tuple(f"seed {r['config']['seed']}: {r['reason']}" for r in results if r["status"] == "diverged"),
        settings={key: shown["config"][key] for key in ("learning_rate", "schedule", "cell_options")},
    )
