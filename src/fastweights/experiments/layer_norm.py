"""The layer-norm confound: Ba et al. (2016) state layer norm for their fast weights, and nothing for the baselines."""

from __future__ import annotations

from collections.abc import Sequence

from fastweights.experiments._pictures import LearningCurves, Picture
from fastweights.experiments._reduction import curve, grouped, row, strips
from fastweights.experiments._selection import Budget, Entry, SelectedByValidation
from fastweights.experiments.base import Outcome
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory

CELLS = ("irnn", "lstm", "fast_weights")
HIDDEN_SIZE = 50

PLANS = {
    # 6 runs, 2 minutes of one core.
    "quick": Budget(learning_rates=(2e-3,), updates=3_000, seeds=(1,)),
    # 60 runs, 45 minutes of one core. The grid holds the best rate of every model in the trials for Table 1, none at
    # an end of it.
    "standard": Budget(learning_rates=(5e-4, 1e-3, 2e-3, 5e-3, 1e-2), updates=12_000, seeds=(1, 2, 3, 4, 5)),
}


class LayerNorm(SelectedByValidation):
    """Question: is it the fast weights or their layer norm that binds? Every model with it and without."""

    presets = tuple(PLANS)
    runs_folder = "layer-norm"

    def entries(self, preset: str) -> list[Entry]:
        return [
            PLANS[preset].entry(RunConfig(cell=cell, hidden_size=HIDDEN_SIZE, cell_options={"layer_norm": layer_norm}))
            for cell in CELLS
            for layer_norm in (False, True)
        ]

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        floor = AssociativeRetrieval().no_binding_floor()
        groups = grouped(runs, _variant)
        rows = [row(group, variant=variant) for (*_, variant), group in groups.items()]
        figures: dict[str, Picture] = {"test-error": strips(f"Layer norm, R = {HIDDEN_SIZE}: test error", rows)}
        for chosen in (WITH, WITHOUT):
            curves = {cell: [curve(run) for run in group] for (cell, _, v), group in groups.items() if v == chosen}
            title = f"Associative retrieval, R = {HIDDEN_SIZE}: {chosen}"
            figures[chosen.replace(" ", "-")] = LearningCurves(title, "test NLL (nats)", floor.nll, curves)
        return Outcome("Layer norm: classification error on the test set", preset, floor.error, rows, figures)


WITH, WITHOUT = "with layer norm", "without layer norm"


def _variant(config: RunConfig) -> str:
    return WITH if config.cell_options["layer_norm"] else WITHOUT
