"""Figure 2 of Ba et al. (2016): test NLL of associative retrieval against updates, with 50 recurrent units."""

from __future__ import annotations

from collections.abc import Sequence

from fastweights.experiments import _published
from fastweights.experiments._pictures import LearningCurves
from fastweights.experiments._reduction import curve, grouped
from fastweights.experiments._section_4_1 import Section41
from fastweights.experiments.base import Outcome
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training.records import RunDirectory

HIDDEN_SIZE = 50


class Figure2(Section41):
    """Claim: fast weights learn the task in a fraction of the updates that the LSTMs need."""

    hidden_sizes = (HIDDEN_SIZE,)

    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        floor = AssociativeRetrieval().no_binding_floor().error
        title = _published.table("figure_2")["title"]
        return Outcome(title, preset, floor, rows=[], figures={"figure-2": learning_curves(runs)})


def learning_curves(runs: Sequence[RunDirectory]) -> LearningCurves:
    """The recorded test NLL of those of `runs` that have 50 hidden units, and the published end of each curve."""
    entry = _published.table("figure_2")
    groups = {cell: group for (cell, size, _), group in grouped(runs).items() if size == HIDDEN_SIZE}
    curves = {cell: [curve(run) for run in group] for cell, group in groups.items()}
    published = {cell: _published.value("figure_2", cell, "final") for cell in curves}
    floor = AssociativeRetrieval().no_binding_floor().nll
    return LearningCurves(entry["title"], "test NLL (nats)", floor, curves, published)
