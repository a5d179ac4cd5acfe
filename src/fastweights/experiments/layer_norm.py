"""The layer-norm confound: Ba et al. (2016) state layer norm for their fast weights, and nothing for the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastweights.experiments._pictures import LearningCurves, Picture
from fastweights.experiments._reduction import curve, grouped, row, strips
from fastweights.experiments._selection import Budget, Entry, SelectedByValidation
from fastweights.experiments.base import Outcome
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training.config import RunConfig
from fastweights.training.options import Option
from fastweights.training.records import RunDirectory

HIDDEN_SIZE = 50
WITH, WITHOUT = "with layer norm", "without layer norm"


@dataclass(frozen=True)
class Plan:
    """How much is run. Validation decides between the values of η too."""

    budget: Budget
    fast_learning_rates: tuple[float, ...]


PLANS = {
    # 8 runs, 3 minutes of one core.
    "quick": Plan(Budget(learning_rates=(2e-3,), updates=5_000, seeds=(1,)), fast_learning_rates=(0.5,)),
    # 100 runs, 75 minutes of one slow core. The grid holds the best rate of every model in the trials for Table 1, none
    # at an end of it. A ReLU without layer norm overflows in the first sequence at the paper's η = 0.5, R = 50.
    "standard": Plan(
        Budget(learning_rates=(5e-4, 1e-3, 2e-3, 5e-3, 1e-2), updates=12_000, seeds=(1, 2, 3, 4, 5)),
        fast_learning_rates=(0.1, 0.5),
    ),
    # 88 runs, 4 hours of one core. The rates that `standard` chose and their neighbours, at the η that it chose every
    # time. An LSTM and fast weights without layer norm begin to learn the training set by heart, whence the weight
    # decay. The IRNN without it binds so late that a shorter screening is a lottery.
    "long": Plan(
        Budget(
            {"irnn": (5e-4, 1e-3, 2e-3), "lstm": (1e-3, 2e-3, 5e-3), "fast_weights": (2.5e-4, 5e-4, 1e-3)},
            updates=100_000,
            seeds=(1, 2, 3, 4, 5),
            evaluate_every=1_000,
            weight_decays=(0.0, 0.1),
            screening={"lstm": 24_000, "fast_weights": 12_000},
        ),
        fast_learning_rates=(0.1,),
    ),
}


class LayerNorm(SelectedByValidation):
    """Question: is it the fast weights or their layer norm that binds? Every model with it and without.

    Fast weights without layer norm are bounded by nothing when f is a ReLU, so that they are tried with tanh as well.
    """

    presets = tuple(PLANS)
    runs_folder = "layer-norm"

    def entries(self, preset: str) -> list[Entry]:
        budget, etas = PLANS[preset].budget, PLANS[preset].fast_learning_rates
        models: list[tuple[str, list[dict[str, Option]]]] = [
            ("irnn", [{}]),
            ("lstm", [{}]),
            *(
                ("fast_weights", [{"activation": activation, "fast_learning_rate": eta} for eta in etas])
                for activation in ("relu", "tanh")
            ),
        ]
        return [
            budget.entry(*(_config(cell, options | {"layer_norm": layer_norm}) for options in candidates))
            for cell, candidates in models
            for layer_norm in (False, True)
        ]

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        floor = AssociativeRetrieval().no_binding_floor()
        groups = grouped(runs, _variant)
        rows = [row(group, variant=variant) for (*_, variant), group in groups.items()]
        by_name = {f"{row.cell}, {row.variant}": row for row in rows}
        figures: dict[str, Picture] = {"test-error": strips(f"Layer norm, R = {HIDDEN_SIZE}: test error", by_name)}
        for chosen in (WITH, WITHOUT):
            curves = {
                f"{cell}, {variant}".removesuffix(f", {chosen}"): [curve(run) for run in group]
                for (cell, _, variant), group in groups.items()
                if variant.endswith(chosen)
            }
            title = f"Associative retrieval, R = {HIDDEN_SIZE}, {chosen}"
            figures[chosen.replace(" ", "-")] = LearningCurves(title, "test NLL (nats)", floor.nll, curves)
        return Outcome("Layer norm: classification error on the test set", preset, floor.error, rows, figures)


def _config(cell: str, options: dict[str, Option]) -> RunConfig:
    return RunConfig(cell=cell, hidden_size=HIDDEN_SIZE, cell_options=options)


def _variant(config: RunConfig) -> str:
    norm = WITH if config.cell_options["layer_norm"] else WITHOUT
    return f"tanh, {norm}" if config.cell_options.get("activation") == "tanh" else norm
