"""The readings that the paper's text leaves open: whether A contains h(t) when it is read, and layer norm on h_0."""

from __future__ import annotations

from collections.abc import Sequence

from fastweights.experiments._pictures import Picture
from fastweights.experiments._reduction import grouped_rows, strips
from fastweights.experiments._selection import Budget, Entry, SelectedByValidation
from fastweights.experiments.base import Outcome
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory

HIDDEN_SIZE = 20

PLANS = {
    # 4 runs, 3 minutes of one core: all readings but the printed one run in the reference.
    "quick": Budget(learning_rates=(2e-3,), updates=3_000, seeds=(1,)),
    # 32 runs, 40 minutes of one slow core.
    "standard": Budget(learning_rates=(1e-3, 2e-3, 4e-3), updates=6_000, seeds=(1, 2, 3, 4, 5)),
}


class Readings(SelectedByValidation):
    """Question: does it matter which reading one takes? Eqs. 1 and 5 as printed: h(t) in A(t), h_0 not normalised."""

    presets = tuple(PLANS)
    runs_folder = "readings"

    def entries(self, preset: str) -> list[Entry]:
        return [
            PLANS[preset].entry(
                RunConfig(
                    cell="fast_weights",
                    hidden_size=HIDDEN_SIZE,
                    cell_options={"lagged": lagged, "boundary_norm": boundary_norm},
                )
            )
            for lagged in (False, True)
            for boundary_norm in (False, True)
        ]

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        floor = AssociativeRetrieval().no_binding_floor().error
        rows = grouped_rows(runs, _variant)
        by_name = {f"{row.cell}, {row.variant}": row for row in rows}
        figures: dict[str, Picture] = {
            "test-error": strips(f"Fast weights, R = {HIDDEN_SIZE}: readings of eqs. 1 and 5", by_name)
        }
        return Outcome("Readings of eqs. 1 and 5: classification error on the test set", preset, floor, rows, figures)


def _variant(config: RunConfig) -> str:
    memory = "reads A(t−1)" if config.cell_options["lagged"] else "reads A(t)"
    return f"{memory}, layer norm on h_0" if config.cell_options["boundary_norm"] else memory
