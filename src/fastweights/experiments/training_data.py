"""Ten times the training data: are the errors that the baselines are left with in Table 1 for want of it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastweights.experiments._pictures import Picture
from fastweights.experiments._reduction import grouped_rows, strips
from fastweights.experiments._section_4_1 import Section41
from fastweights.experiments._selection import Entry
from fastweights.experiments.base import Outcome, Row
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory

# The two that are left with the most errors.
MODELS = ("irnn", "lstm")
HIDDEN_SIZE = 100
TRAIN_SIZE = 1_000_000
SEEDS = (1, 2, 3)
# On a million sequences, each of which returns a tenth as often, the IRNN with the settings of Table 1 had bound
# nothing after 313,000 updates (one seed). On 100,000, all five seeds have begun to within 40,000, a twelfth of their
# budget; so for the first tenth of it, it sees only so many.
EARLY_TRAIN_SIZE = 100_000


class TrainingData(Section41):
    """Question: has a baseline with errors left learned the wrong thing, or the right one from too few sequences?

    Its runs of Table 1, on the paper's 100,000 training sequences, and the same on ten times as many, with the settings
    that validation chose for the former and as many updates. The IRNN, which with these settings did not begin to bind
    in time, is begun on 100,000 of them.
    """

    hidden_sizes = (HIDDEN_SIZE,)

    def entries(self, preset: str) -> list[Entry]:
        return [entry for entry in super().entries(preset) if entry.candidates[0].cell in MODELS]

    def final(self, preset: str, screened: Sequence[RunDirectory]) -> list[RunConfig]:
        of_table_1 = super().final(preset, screened)
        return of_table_1 + [_on_more(config) for config in of_table_1 if config.seed in SEEDS]

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        floor = AssociativeRetrieval().no_binding_floor().error
        rows = sorted(map(_remarked, grouped_rows(runs, _variant)), key=lambda row: row.cell)
        by_name = {f"{row.cell}, {row.variant}": row for row in rows}
        figures: dict[str, Picture] = {"test-error": strips(f"Training data, R = {HIDDEN_SIZE}: test error", by_name)}
        return Outcome("Training data: classification error on the test set", preset, floor, rows, figures)


def _on_more(config: RunConfig) -> RunConfig:
    more = replace(config, train_size=TRAIN_SIZE)
    if config.cell != "irnn":
        return more
    return replace(more, early_updates=config.updates // 10, early_train_size=EARLY_TRAIN_SIZE)


def _variant(config: RunConfig) -> str:
    return f"{config.train_size:,} training sequences"


def _remarked(row: Row) -> Row:
    if "early_updates" not in row.settings:
        return row
    updates, size = row.settings["early_updates"], row.settings["early_train_size"]
    return replace(row, remark=f"for the first {updates:,} updates the first {size:,} of them alone")
