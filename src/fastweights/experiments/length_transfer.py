"""Train short, test long: the runs of the capacity experiment at K = 4, tested on sequences of other K."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastweights.experiments._pictures import HeatMap, Picture
from fastweights.experiments._reduction import grouped, row_from_results
from fastweights.experiments._selection import Entry, SelectedByValidation
from fastweights.experiments.base import Outcome, Row, result_of
from fastweights.experiments.capacity import FIRST_RUNG, PLANS, RUNGS, first_entries
from fastweights.training.records import RunDirectory
from fastweights.training.transfer import score_elsewhere, with_task


class LengthTransfer(SelectedByValidation):
    """Question: does a model that has learned to bind four pairs bind more, without further training?"""

    presets = tuple(PLANS)
    # The runs are those of the capacity experiment, and are not repeated.
    runs_folder = "capacity"

    def entries(self, preset: str) -> list[Entry]:
        return first_entries(preset, "interleaved")

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        rows = [
            row_from_results([_result_at(run, pairs) for run in group], variant=f"tested at K = {pairs}")
            for group in grouped(runs).values()
            for pairs in RUNGS
        ]
        title = f"Trained at K = {FIRST_RUNG}, tested at other K: classification error on the test set"
        figures: dict[str, Picture] = {"test-error": _heat_map(title, rows)}
        return Outcome(title, preset, None, rows, figures)


def _result_at(run: RunDirectory, pairs: int) -> dict[str, Any]:
    """The run's result with the score at another K in place of its own."""
    score = score_elsewhere(run, {"num_pairs": pairs})
    return result_of(run) | {
        "config": with_task(run.config(), {"num_pairs": pairs}).to_dict(),
        "test_errors": score and score.errors,
        "test_count": score and score.total,
        "test_nll": score and score.nll,
    }


def _heat_map(title: str, rows: Sequence[Row]) -> HeatMap:
    errors: dict[str, list[float | None]] = {}
    for row in rows:
        percent = None if row.error is None else 100 * row.error
        errors.setdefault(f"{row.cell}, R = {row.hidden_size}", []).append(percent)
    return HeatMap(
        title=title,
        value_name="median test error, %",
        x_name="pairs K in the test",
        x=tuple(map(str, RUNGS)),
        y_name="",
        y=tuple(errors),
        values=tuple(map(tuple, errors.values())),
    )
