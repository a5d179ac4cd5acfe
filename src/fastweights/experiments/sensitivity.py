"""How much the fast weights' own settings matter: decay λ, learning rate η and inner steps S, over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from fastweights.experiments._pictures import HeatMap, Picture
from fastweights.experiments._reduction import grouped_rows
from fastweights.experiments._selection import Budget, Entry, SelectedByValidation
from fastweights.experiments.base import Outcome, Row
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory

# Where Table 1 leaves errors to tell apart: with 50 units nearly every setting ends close to zero.
HIDDEN_SIZE = 20
# Adam's, not η: the best for λ = 0.95, η = 0.5, S = 1 at this size in the trials for Table 1, here for all settings.
LEARNING_RATE = 2e-3


@dataclass(frozen=True)
class Plan:
    """How much is run: every combination, with every seed."""

    budget: Budget
    decays: tuple[float, ...]
    fast_learning_rates: tuple[float, ...]
    inner_steps: tuple[int, ...]


PLANS = {
    # 9 runs, 1 minute of one core.
    "quick": Plan(Budget((LEARNING_RATE,), updates=3_000, seeds=(1,)), (0.9, 0.95, 1.0), (0.25, 0.5, 1.0), (1,)),
    # 180 runs, an hour of one slow core.
    "standard": Plan(
        Budget((LEARNING_RATE,), updates=6_000, seeds=(1, 2, 3)),
        decays=(0.8, 0.9, 0.95, 1.0),
        fast_learning_rates=(0.1, 0.25, 0.5, 1.0, 2.0),
        inner_steps=(1, 2, 4),
    ),
}


class Sensitivity(SelectedByValidation):
    """Question: how wide is the range of λ, η and S that works, and is S = 1 enough as the first author says?"""

    presets = tuple(PLANS)
    runs_folder = "sensitivity"

    def entries(self, preset: str) -> list[Entry]:
        plan = PLANS[preset]
        return [
            plan.budget.entry(
                RunConfig(
                    cell="fast_weights",
                    hidden_size=HIDDEN_SIZE,
                    cell_options={"inner_steps": inner_steps, "decay": decay, "fast_learning_rate": eta},
                )
            )
            for inner_steps, decay, eta in product(plan.inner_steps, plan.decays, plan.fast_learning_rates)
        ]

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        floor = AssociativeRetrieval().no_binding_floor().error
        rows = grouped_rows(runs, _variant)
        steps = sorted({row.settings["cell_options"]["inner_steps"] for row in rows})
        figures: dict[str, Picture] = {f"inner-steps-{S}": _heat_map(S, rows) for S in steps}
        return Outcome("λ, η and S: classification error on the test set", preset, floor, rows, figures)


def _variant(config: RunConfig) -> str:
    options = config.cell_options
    return f"λ = {options['decay']}, η = {options['fast_learning_rate']}, S = {options['inner_steps']}"


def _heat_map(inner_steps: int, rows: Sequence[Row]) -> HeatMap:
    errors = {
        (options["fast_learning_rate"], options["decay"]): None if row.error is None else 100 * row.error
        for row in rows
        if (options := row.settings["cell_options"])["inner_steps"] == inner_steps
    }
    etas, decays = (sorted(set(values)) for values in zip(*errors, strict=True))
    return HeatMap(
        title=f"Fast weights, R = {HIDDEN_SIZE}, S = {inner_steps}: test error",
        value_name="median test error, %",
        x_name="decay λ",
        x=tuple(f"{decay:g}" for decay in decays),
        y_name="fast learning rate η",
        y=tuple(f"{eta:g}" for eta in etas),
        values=tuple(tuple(errors.get((eta, decay)) for decay in decays) for eta in etas),
    )
