"""The capacity frontier: the largest number of key-value pairs K that each model recalls, trained on sequences of K."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fastweights.experiments._pictures import HeatMap, Picture
from fastweights.experiments._reduction import grouped, grouped_rows
from fastweights.experiments._selection import Budget, Entry, SelectedByValidation
from fastweights.experiments._statistics import SUCCESS, lower_median
from fastweights.experiments.base import Outcome, Row, result_of
from fastweights.training.config import RunConfig
from fastweights.training.loop import complete
from fastweights.training.records import RunDirectory

# As far as 26 letters go. The paper's 4 is tried first, and the learning rate chosen there.
RUNGS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 26)
FIRST_RUNG = 4


@dataclass(frozen=True)
class Plan:
    """How much is run: the sizes of each model, at one budget for all but for the grid of learning rates."""

    budget: Budget
    hidden_sizes: dict[str, tuple[int, ...]]
    keys_first_sizes: tuple[int, ...]
    """Sizes at which the models are tried on sequences of all keys, then all values, as well."""


PLANS = {
    # 7 runs or so, 2 minutes of one core.
    "quick": Plan(
        Budget({"fast_weights": (1e-3,), "lstm": (5e-3,)}, updates=4_000, seeds=(1,)),
        hidden_sizes={"fast_weights": (50,), "lstm": (50,)},
        keys_first_sizes=(),
    ),
    # 200 runs or so, 2 hours of one slow core. An associative LSTM with 100 units would add half of that.
    "standard": Plan(
        Budget(
            {
                "fast_weights": (5e-4, 1e-3, 2e-3),
                "lstm": (2e-3, 5e-3, 1e-2),
                "associative_lstm": (1e-3, 3e-3, 1e-2),
                "irnn": (1e-3, 3e-3, 5e-3),
            },
            updates=8_000,
            seeds=(1, 2, 3),
        ),
        hidden_sizes={
            "fast_weights": (20, 50, 100),
            "lstm": (20, 50, 100),
            "associative_lstm": (20, 50),
            "irnn": (20, 50, 100),
        },
        keys_first_sizes=(50,),
    ),
}


class Capacity(SelectedByValidation):
    """Question: how many pairs does a unit hold? Sequences of K pairs, K searched by bisection over `RUNGS`.

    A rung is passed if the median of the seeds' validation errors is within SUCCESS; the rows show test errors.
    """

    presets = tuple(PLANS)
    runs_folder = "capacity"

    def entries(self, preset: str) -> list[Entry]:
        return first_entries(preset, "interleaved") + first_entries(preset, "keys_first")

    def further(self, preset: str, runs: Sequence[RunDirectory]) -> list[RunConfig]:
        ladders: dict[tuple[str, int, str], dict[int, list[RunDirectory]]] = {}
        for key, group in grouped(runs, _order).items():
            for run in group:
                ladders.setdefault(key, {}).setdefault(_pairs(run.config()), []).append(run)
        configs = []
        for ladder in ladders.values():
            pairs = next_rung({pairs: _passed(group) for pairs, group in ladder.items()})
            if pairs is not None:
                configs += [_with_pairs(run.config(), pairs) for run in ladder[FIRST_RUNG]]
        return configs

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        rows = grouped_rows(runs, _variant)
        rows.sort(key=lambda row: (*_ladder(row), _pairs_of(row)))
        largest = _largest(rows)
        rows = [
            replace(row, remark="the largest K recalled") if largest[_ladder(row)] == _pairs_of(row) else row
            for row in rows
        ]
        figures: dict[str, Picture] = {
            f"largest-k-{order.replace('_', '-')}": _frontier(order, largest)
            for order in sorted({order for order, *_ in largest})
        }
        title = "Capacity: classification error on the test set, by number of pairs K"
        return Outcome(title, preset, None, rows, figures)


def first_entries(preset: str, order: str) -> list[Entry]:
    """The models at the first rung, on sequences of this order."""
    plan = PLANS[preset]
    return [
        plan.budget.entry(
            RunConfig(cell=cell, hidden_size=size, task_options={"num_pairs": FIRST_RUNG, "order": order})
        )
        for cell, sizes in plan.hidden_sizes.items()
        for size in sizes
        if order == "interleaved" or size in plan.keys_first_sizes
    ]


def next_rung(passed: Mapping[int, bool]) -> int | None:
    """The K to try next, given which were passed: halfway between the largest passed and the smallest failed above it.

    None once these are neighbours on the ladder, or its end is reached.
    """
    low = max((RUNGS.index(pairs) for pairs, well in passed.items() if well), default=-1)
    high = min(
        (RUNGS.index(pairs) for pairs, well in passed.items() if not well and RUNGS.index(pairs) > low),
        default=len(RUNGS),
    )
    return None if high - low == 1 else RUNGS[(low + high) // 2]


def _passed(runs: Sequence[RunDirectory]) -> bool:
    results = [result_of(run) for run in runs]
    errors = [r["validation_error"] if r["status"] == "finished" else 1.0 for r in results]
    return lower_median(errors) <= SUCCESS


def _with_pairs(config: RunConfig, pairs: int) -> RunConfig:
    return complete(replace(config, task_options={**config.task_options, "num_pairs": pairs}))


def _pairs(config: RunConfig) -> int:
    return int(config.task_options["num_pairs"])


def _order(config: RunConfig) -> str:
    return str(config.task_options["order"])


def _variant(config: RunConfig) -> str:
    return f"K = {_pairs(config)}" + (", keys first" if _order(config) == "keys_first" else "")


def _pairs_of(row: Row) -> int:
    return int(row.settings["task_options"]["num_pairs"])


def _ladder(row: Row) -> tuple[str, int, str]:
    """Order of the sequences, size and model: what K is searched for."""
    return row.settings["task_options"]["order"], row.hidden_size, row.cell


def _largest(rows: Sequence[Row]) -> dict[tuple[str, int, str], int]:
    """The largest K with a median test error within SUCCESS; 0 where there is none."""
    largest = {_ladder(row): 0 for row in rows}
    for each in rows:
        if each.error is not None and each.error <= SUCCESS:
            largest[_ladder(each)] = max(largest[_ladder(each)], _pairs_of(each))
    return largest


def _frontier(order: str, largest: Mapping[tuple[str, int, str], int]) -> HeatMap:
    of_order = {(cell, size): pairs for (each, size, cell), pairs in largest.items() if each == order}
    cells, sizes = sorted({cell for cell, _ in of_order}), sorted({size for _, size in of_order})
    return HeatMap(
        title=f"Largest K recalled with at most {100 * SUCCESS:.0f} % errors, {order.replace('_', ' ')}",
        value_name="pairs K",
        x_name="recurrent units R",
        x=tuple(map(str, sizes)),
        y_name="",
        y=tuple(cells),
        values=tuple(tuple(of_order.get((cell, size)) for size in sizes) for cell in cells),
    )
