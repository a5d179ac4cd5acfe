"""Table 1's comparison at equal slow parameters, and at equal state, where the paper's is at equal units.

With 50 units, fast weights have a quarter of the LSTM's parameters and 25 times its state.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from fastweights.experiments._pictures import Picture
from fastweights.experiments._reduction import grouped, row, strips
from fastweights.experiments._selection import Budget, Entry, SelectedByValidation
from fastweights.experiments.base import Outcome, Row
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory
from fastweights.training.sizes import LayerSize, layer_size

REFERENCE = "fast_weights"
BASELINES = ("irnn", "lstm", "associative_lstm")
# An update took 0.05 s with the 420 units of an IRNN that match the state of 20 fast-weight units (219 thousand
# parameters); with the 2,550, 1,275 and 510 units that match that of 50 (4 to 7 million) it took 1.4, 1.0 and 0.6 s.
MOST_PARAMETERS = 500_000

Measure = Literal["parameters", "state"]


@dataclass(frozen=True)
class Plan:
    """How much is run: the numbers of fast-weight units that the others are matched to, for each measure."""

    budget: Budget
    references: dict[Measure, tuple[int, ...]]


_BINDING = {"fast_weights": 12_000, "lstm": 12_000, "associative_lstm": 12_000, "irnn": 60_000}
"""Updates after which the best of a few learning rates has begun to bind, at most sizes."""
_LONG = Budget(
    (5e-4, 1e-3, 2e-3, 5e-3),
    updates=100_000,
    seeds=(1, 2, 3),
    evaluate_every=1_000,
    weight_decays=(0.0, 0.1),
    screening=_BINDING,
)

PLANS = {
    # 8 runs, 2 minutes of one core.
    "quick": Plan(Budget((2e-3,), updates=3_000, seeds=(1,)), {"parameters": (20,), "state": (10,)}),
    # 171 runs, 4 hours of one slow core, 3 of them for the state of 20 units.
    "standard": Plan(
        Budget((2.5e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2), updates=6_000, seeds=(1, 2, 3)),
        {"parameters": (20, 50, 100), "state": (10, 20, 50)},
    ),
    # 132 runs, 5 hours of one core. In 6,000 updates some baselines bind nothing; in 100,000 the widest LSTMs learn the
    # training set by heart, whence the weight decay. Which of a narrow LSTM's rates is best shows late.
    "long": Plan(
        replace(_LONG, screening=_BINDING | {"lstm": 48_000, "associative_lstm": 48_000}),
        {"parameters": (20, 50, 100)},
    ),
    # 44 runs, an hour and a half of one core. At the state of ten fast-weight units the baselines have parameters
    # enough to learn the training set by heart, whence the weight decay.
    "long-state": Plan(_LONG, {"state": (10,)}),
}


@dataclass(frozen=True)
class Match:
    """A model whose `measure` is as near as its width allows to that of fast weights with `reference` units."""

    measure: Measure
    reference: int
    config: RunConfig

    @property
    def size(self) -> LayerSize:
        """Of its recurrent layer."""
        return layer_size(self.config)

    @property
    def trained(self) -> bool:
        """Whether it is small enough to be trained here."""
        return self.size.parameters <= MOST_PARAMETERS

    @property
    def target(self) -> str:
        """What it is matched to, in words."""
        return f"{self.measure} of {self.reference} fast-weight units"


class Fairness(SelectedByValidation):
    """Question: do fast weights win at equal parameters too, and do the others catch up at equal state?"""

    presets = tuple(PLANS)
    runs_folder = "fairness"

    def entries(self, preset: str) -> list[Entry]:
        # The reference stands in the table of each measure, and one width may match twice.
        configs = {match.config.run_id: match.config for match in matches(preset) if match.trained}
        return [PLANS[preset].budget.entry(config) for config in configs.values()]

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        floor = AssociativeRetrieval().no_binding_floor().error
        found = matches(preset)
        groups = {(cell, size): group for (cell, size, _), group in grouped(runs).items()}
        rows = [
            row(groups[match.config.cell, match.config.hidden_size], variant=match.target)
            if match.trained
            else _not_trained(match)
            for match in found
            if not match.trained or (match.config.cell, match.config.hidden_size) in groups
        ]
        figures: dict[str, Picture] = {}
        for match in found:
            if named := {row.cell: row for row in rows if row.variant == match.target and row.runs > 0}:
                figures[f"{match.measure}-{match.reference}"] = strips(f"At the {match.target}: test error", named)
        measures = " and ".join(f"by {measure}" for measure in PLANS[preset].references)
        return Outcome(f"Matched {measures}: classification error on the test set", preset, floor, rows, figures)


@cache
def matches(preset: str) -> tuple[Match, ...]:
    """Fast weights of every reference size, each followed by the baselines that match it."""
    found: list[Match] = []
    for measure, references in PLANS[preset].references.items():
        for units in references:
            reference = RunConfig(cell=REFERENCE, hidden_size=units)
            target = getattr(layer_size(reference), measure)
            found.append(Match(measure, units, reference))
            found += [Match(measure, units, nearest(RunConfig(cell=cell), measure, target)) for cell in BASELINES]
    return tuple(found)


def nearest(config: RunConfig, measure: Measure, target: int) -> RunConfig:
    """`config` with the number of units that brings its layer's `measure` nearest to `target`."""

    def measured(units: int) -> int:
        size: int = getattr(layer_size(replace(config, hidden_size=units)), measure)
        return size

    # Half of an associative LSTM's numbers are imaginary parts, and a unit has at least one number of either measure.
    step = 2 if config.cell == "associative_lstm" else 1
    widths = range(step, target + 2 * step, step)
    above = bisect_left(widths, target, key=measured)
    units = min(widths[max(above - 1, 0) : above + 1], key=lambda units: abs(measured(units) - target))
    return replace(config, hidden_size=units)


def _not_trained(match: Match) -> Row:
    return Row(
        cell=match.config.cell,
        hidden_size=match.config.hidden_size,
        variant=match.target,
        error=None,
        interval=None,
        errors=(),
        successes=0,
        runs=0,
        published=None,
        verdict=None,
        updates_to_success=None,
        seconds_to_success=None,
        nll=None,
        updates=0,
        seconds=0.0,
        backend="–",
        parameters=match.size.parameters,
        state_size=match.size.state,
        floor_remark=None,
        diverged=(),
        remark=f"not trained, for its {match.size.parameters:,} parameters are more than {MOST_PARAMETERS:,}",
        settings={},
    )
