"""Ten times the training data: are the errors that the baselines are left with in Table 1 for want of it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastweights.experiments._pictures import Picture
from fastweights.experiments._reduction import grouped_rows, strips
from fastweights.experiments._section_4_1 import Section41
from fastweights.experiments._selection import Entry
from fastweights.experiments.base import Outcome
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory

# The two that are left with the most errors.
MODELS = ("irnn", "lstm")
HIDDEN_SIZE = 100
TRAIN_SIZE = 1_000_000
SEEDS = (1, 2, 3)
# On a million sequences, which hardly ever return, the IRNN began to bind late or not at all: in two trials of five not
# within 200,000 updates. On 100,000 all five seeds have begun within 40,000, so that it sees only so many at first.
EARLY = {"irnn": (50_000, 100_000), "lstm": (0, None)}


class TrainingData(Section41):
    """Question: has a baseline with errors left learned the wrong thing, or the right one from too few sequences?

    Its runs of Table 1, on the paper's 100,000 training sequences, and the same on ten times as many, with the settings
    that validation chose for the former and as many updates.
    """

    hidden_sizes = (HIDDEN_SIZE,)

    def entries(self, preset: str) -> list[Entry]:
        return [entry for entry in super().entries(preset) if entry.candidates[0].cell in MODELS]

    def final(self, preset: str, screened: Sequence[RunDirectory]) -> list[RunConfig]:
        of_table_1 = super().final(preset, screened)
        return of_table_1 + [_on_more(config) for config in of_table_1 if config.seed in SEEDS]

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        floor = AssociativeRetrieval().no_binding_floor().error
        rows = sorted(grouped_rows(runs, _variant), key=lambda row: row.cell)
        by_name = {f"{row.cell}, {row.variant}": row for row in rows}
        figures: dict[str, Picture] = {"test-error": strips(f"Training data, R = {HIDDEN_SIZE}: test error", by_name)}
        return Outcome("Training data: classification error on the test set", preset, floor, rows, figures)


def _on_more(config: RunConfig) -> RunConfig:
    updates, size = EARLY[config.cell]
    return replace(config, train_size=TRAIN_SIZE, early_updates=updates, early_train_size=size)


def _variant(config: RunConfig) -> str:
    early = f", the first {config.early_train_size:,} of them alone at first" if config.early_train_size else ""
    return f"{config.train_size:,} training sequences{early}"
