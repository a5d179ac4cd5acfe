"""Table 1 of Ba et al. (2016): test error of associative retrieval for four models at three sizes (Section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

from fastweights.experiments import _published
from fastweights.experiments._reduction import grouped, row
from fastweights.experiments._section_4_1 import Section41
from fastweights.experiments.base import Outcome
from fastweights.experiments.figure_2 import learning_curves
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training.records import RunDirectory


class Table1(Section41):
    """Claim: with few units, fast weights bind keys to values and the baselines do not; with 100 units all do."""

    hidden_sizes = (20, 50, 100)

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        floor = AssociativeRetrieval().no_binding_floor().error
        rows = [row(group, published=_published_error(cell, size)) for (cell, size, _), group in grouped(runs).items()]
        order = _published.table("table_1")["rows"]
        rows.sort(key=lambda row: (row.hidden_size, order.index(row.cell)))
        title = _published.table("table_1")["title"]
        return Outcome(title, preset, floor, rows, {"figure-2": learning_curves(runs)})


def _published_error(cell: str, size: int) -> float | None:
    percent = _published.value("table_1", cell, size)
    return None if percent is None else percent / 100
