"""The runs of Section 4.1, associative retrieval, which Table 1 and Figure 2 share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar

from fastweights.experiments._selection import SCREENING_SEED, Entry, SelectedByValidation
from fastweights.training.config import RunConfig, Schedule
from fastweights.training.loop import complete
from fastweights.training.options import Option

T = TypeVar("T")
_Rates = tuple[float, ...]


@dataclass(frozen=True)
class Candidates:
    """The settings between which validation decides for one model: every combination of them.

    What is given as a dict is by hidden size.
    """

    learning_rates: _Rates | dict[int, _Rates]
    options: tuple[dict[str, Option], ...] | dict[int, tuple[dict[str, Option], ...]] = ({},)
    weight_decays: _Rates | dict[int, _Rates] = (0.0,)
    budget: float | dict[int, float] = 1
    """How many times the preset's updates this model gets."""
    screening: int | dict[int, int] = 1
    """How many times the preset's screening updates it is screened for."""


def _storing(*etas: float) -> tuple[dict[str, Option], ...]:
    """λ and η, between which the standard preset decides."""
    return tuple({"decay": decay, "fast_learning_rate": eta} for decay in (0.9, 0.95) for eta in etas)


@dataclass(frozen=True)
class Preset:
    """How much of the protocol is run."""

    models: dict[str, Candidates]
    hidden_sizes: tuple[int, ...]
    updates: int
    evaluate_every: int
    schedule: Schedule
    seeds: tuple[int, ...]
    screening_updates: int = 0
    """Budget of a screening run."""


PRESETS = {
    # One candidate for each row: the learning rate with the lowest validation error at about this budget, in trials of
    # 5e-4 to 4e-3 (fast weights), 2e-3 to 1e-2 (LSTM) and 3e-4 to 3e-3 (IRNN).
    "quick": Preset(
        models={
            "fast_weights": Candidates({20: (2e-3,), 50: (1e-3,), 100: (5e-4,)}),
            "lstm": Candidates({20: (5e-3,), 50: (5e-3,), 100: (2e-3,)}),
            "irnn": Candidates((3e-3,)),
        },
        hidden_sizes=(20, 50, 100),
        updates=12_000,
        evaluate_every=500,
        schedule="cosine",
        seeds=(1,),
    ),
    # About a day of one core. Where the best learning rate was the last of the grid, the grid was extended. The IRNN
    # binds nothing before tens of thousands of updates, which is how long it is screened.
    # What learns the training set by heart, with errors left on validation, is offered weight decay; that pays later in
    # training, whence the longer screening. The LSTM with 20 units, which does not, is offered it for the longer
    # training that it gets. Several rows have been screened before, with other grids. For the LSTM and the IRNN with
    # 100 units a first one, over the other sizes' rates and less decay or none, chose 5e-3 and 0.1 (after 24,000
    # updates) and 1e-3 and 0.03; this one asks about more decay, and the LSTM for longer. For fast weights with 50
    # units and the associative LSTM with 50 and 100 the first one, without decay, chose 2.5e-4, the lowest of five, at
    # λ = 0.95 and η = 0.5, and 3e-3; this one asks about decay. The latter, the slowest, then makes hardly a mistake on
    # validation once its rate has fallen, which it does sooner with a quarter of the updates. For the LSTM and the
    # associative LSTM with 20 units the first one chose 2e-3 and 1e-3; this one asks again at and around those, and
    # about decay, for longer. Fast weights with 20 units have training loss left after 100,000 updates and get 300,000,
    # as does the LSTM with 20. The IRNN with 50 is screened for long enough to bind something. It and the LSTM with 50,
    # where the paper's curves are drawn, get the paper's budget.
    "standard": Preset(
        models={
            "fast_weights": Candidates(
                {20: (1e-3, 2e-3, 4e-3), 50: (1.25e-4, 2.5e-4), 100: (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3)},
                {
                    20: _storing(0.1, 0.25, 0.5),
                    50: ({"decay": 0.95, "fast_learning_rate": 0.5},),
                    100: _storing(0.25, 0.5, 1.0),
                },
                weight_decays={20: (0.0,), 50: (0.0, 0.1, 0.3, 1.0), 100: (0.0,)},
                budget={20: 3, 50: 1, 100: 1},
                screening={20: 4, 50: 4, 100: 1},
            ),
            "lstm": Candidates(
                {20: (1e-3, 2e-3, 5e-3), 50: (1e-3, 2e-3, 5e-3, 1e-2), 100: (2e-3, 5e-3)},
                weight_decays={20: (0.0, 0.03), 50: (0.0, 0.1), 100: (0.1, 0.3)},
                budget={20: 3, 50: 7.5, 100: 1},
                screening={20: 4, 50: 2, 100: 4},
            ),
            "associative_lstm": Candidates(
                {20: (1e-3, 3e-3), 50: (1e-3, 3e-3), 100: (3e-3,)},
                ({"copies": 4, "heads": 3},),
                weight_decays=(0.0, 0.03, 0.1),
                budget={20: 1, 50: 0.25, 100: 0.25},
                screening={20: 4, 50: 2, 100: 2},
            ),
            "irnn": Candidates(
                {20: (3e-4, 1e-3, 3e-3), 50: (3e-4, 1e-3, 3e-3), 100: (1e-3,)},
                weight_decays={20: (0.0,), 50: (0.0,), 100: (0.03, 0.1)},
                budget={20: 1, 50: 7.5, 100: 5},
                screening={20: 5, 50: 10, 100: 10},
            ),
        },
        hidden_sizes=(20, 50, 100),
        updates=100_000,
        evaluate_every=1_000,
        schedule="cosine",
        seeds=(1, 2, 3, 4, 5),
        screening_updates=12_000,
    ),
    # The paper states neither its grid nor its number of seeds. Its η is 0.5; its text and its appendix disagree on λ.
    "paper": Preset(
        models={
            "fast_weights": Candidates(
                (3e-4, 1e-3, 3e-3), tuple({"decay": decay, "fast_learning_rate": 0.5} for decay in (0.9, 0.95))
            ),
            "lstm": Candidates((3e-4, 1e-3, 3e-3, 1e-2)),
            "associative_lstm": Candidates((3e-4, 1e-3, 3e-3, 1e-2), ({"copies": 4, "heads": 3},)),
            "irnn": Candidates((3e-5, 1e-4, 3e-4, 1e-3, 3e-3)),
        },
        hidden_sizes=(20, 50, 100),
        updates=750_000,
        evaluate_every=5_000,
        schedule="constant",
        seeds=(1, 2, 3, 4, 5),
        screening_updates=150_000,
    ),
}


class Section41(SelectedByValidation):
    """An experiment over the protocol's runs, or over those of some sizes."""

    presets = tuple(PRESETS)
    runs_folder = "section-4-1"
    hidden_sizes: ClassVar[tuple[int, ...]]
    """The sizes that it shows, of those that a preset has."""

    def entries(self, preset: str) -> list[Entry]:
        plan = PRESETS[preset]
        sizes = [size for size in plan.hidden_sizes if size in self.hidden_sizes]
        return [_entry(plan, cell, size) for cell in plan.models for size in sizes]


def _entry(plan: Preset, cell: str, size: int) -> Entry:
    grid = plan.models[cell]
    updates = round(plan.updates * _at(size, grid.budget))
    screening = plan.screening_updates * _at(size, grid.screening) if plan.screening_updates else updates
    candidates = tuple(
        complete(
            RunConfig(
                cell=cell,
                hidden_size=size,
                cell_options=dict(options),
                updates=screening,
                evaluate_every=plan.evaluate_every,
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                schedule=plan.schedule,
                seed=SCREENING_SEED,
            )
        )
        for options in _at(size, grid.options)
        for weight_decay in _at(size, grid.weight_decays)
        for learning_rate in _at(size, grid.learning_rates)
    )
    return Entry(candidates, updates, plan.seeds)


def _at(size: int, setting: T | dict[int, T]) -> T:
    return setting[size] if isinstance(setting, dict) else setting
