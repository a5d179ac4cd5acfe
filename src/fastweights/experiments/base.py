"""What an experiment is: the runs it needs, and what they show beside the published numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fastweights.errors import unknown_name
from fastweights.experiments._pictures import Picture
from fastweights.experiments._statistics import Verdict
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory


@dataclass(frozen=True)
class Row:
    """All runs of one line of a table: one model at one size, over its seeds.

    Errors and NLL are those of the median run (the lower of two), so that every number is one that was measured.
    """

    cell: str
    hidden_size: int
    variant: str
    """What else tells the row from others, as "no layer norm"; empty where model and size do."""
    error: float | None
    """Test error, a fraction; None if most of the runs did not get as far as an evaluation."""
    interval: tuple[float, float] | None
    """95 % Wilson interval of `error`, from the size of the test set."""
    errors: tuple[float, ...]
    """Test errors of all runs that have one, ascending."""
    successes: int
    """Runs that ended with a test error within `_statistics.SUCCESS`; one that diverged is none."""
    runs: int
    published: float | None
    """The paper's test error, a fraction."""
    verdict: Verdict | None
    """What that makes of it, see `_statistics.verdict`; None where the paper has no number or a seed
    has no error."""
    updates_to_success: float | None
    """Updates to the first evaluation with a validation error within SUCCESS: the median over the runs, in which those
    that never got there count as infinite; None where that is the median."""
    seconds_to_success: float | None
    nll: float | None
    updates: int
    seconds: float
    backend: str
    parameters: int | None
    """Slow parameters of the recurrent layer; None in records that do not have it."""
    state_size: int | None
    """Numbers of state that the layer carries along for one sequence."""
    floor_remark: str | None
    """Said of an error that is not below the no-binding floor; see `_statistics.standing`."""
    diverged: tuple[str, ...]
    """Why, for each run that diverged."""
    remark: str | None
    """What else there is to say of it."""
    settings: dict[str, Any]
    """What the row was run with: learning rate, schedule, options of the cell and of the task."""


@dataclass(frozen=True)
class Outcome:
    """What an experiment shows: the rows of its table and its figures by file name; either may be empty."""

    title: str
    preset: str
    floor_error: float | None
    """Error of the best predictor without binding; None where the rows differ in it."""
    rows: list[Row]
    figures: dict[str, Picture]


class Experiment(ABC):
    """One published result, or one comparison."""

    presets: ClassVar[tuple[str, ...]]
    runs_folder: ClassVar[str]
    """Folder of its runs under the root; experiments over the same runs share it."""

    def check_preset(self, preset: str) -> None:
        """Raise UsageError unless there is a preset of this name."""
        if preset not in self.presets:
            raise unknown_name("preset", preset, self.presets)

    @abstractmethod
    def screening(self, preset: str) -> list[RunConfig]:
        """Runs whose validation errors decide between the candidates of each row; empty if there is one candidate."""

    @abstractmethod
    def final(self, preset: str, screened: Sequence[RunDirectory]) -> list[RunConfig]:
        """The runs that are reported, given the finished screening runs. Their seeds are not those of the screening."""

    def further(self, preset: str, runs: Sequence[RunDirectory]) -> list[RunConfig]:
        """More runs to report, which those finished so far call for; empty once they suffice."""
        return []

    @abstractmethod
    def reduce(self, preset: str, runs: Sequence[RunDirectory]) -> Outcome:
        """What the finished runs show."""


def result_of(run: RunDirectory) -> dict[str, Any]:
    """The result of a run that is over."""
    result = run.result()
    if result is None:
        raise ValueError(f"{run.path} is not over yet")
    return result
