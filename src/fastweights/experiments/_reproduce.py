"""Running an experiment: screen the candidates if there are several, then make the runs that are reported.

Or, while that goes on, reducing what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastweights.errors import RunError
from fastweights.experiments.base import Experiment, Outcome
from fastweights.training.config import Device, RunConfig
from fastweights.training.loop import on_device
from fastweights.training.records import RunDirectory
from fastweights.training.sweep import Follow, Place, run_all


@dataclass(frozen=True)
class Reproduction:
    """What an experiment shows, and the runs that it comes from."""

    outcome: Outcome
    runs: list[RunDirectory]
    """Those that are reported."""
    screened: list[RunDirectory]
    """Those over of the runs that decide between candidates."""
    left: int
    """How many more runs are known to be wanted; those of a row whose screening is not over are not."""


def reproduce(
    experiment: Experiment,
    preset: str,
    *,
    root: Path,
    place: Place,
    follow: Follow,
    device: Device = "cpu",
    population: int = 1,
) -> Reproduction:
    """Bring all runs of a preset to their end, resuming what is there, and reduce them.

    `follow` opens what observes each of the stages: "screening", "runs", and "further runs" as often as there are any.
    All are trained on `device`; `population` is that of `run_all`.
    """

    def stage(name: str, configs: list[RunConfig]) -> list[RunDirectory]:
        completed = [on_device(config, device) for config in configs]
        with follow(name, completed) as observe:
            return run_all(completed, root, place=place, observe=observe, population=population)

    candidates = experiment.screening(preset)
    screened = stage("screening", candidates) if candidates else []
    runs = stage("runs", experiment.final(preset, screened))
    while further := experiment.further(preset, runs):
        runs += stage("further runs", further)
    return Reproduction(experiment.reduce(preset, runs), runs, screened, left=0)


def so_far(experiment: Experiment, preset: str, *, root: Path, device: Device = "cpu") -> Reproduction:
    """Reduce the runs of a preset on this device that are over, and start none; rows without any are left out.

    Raises:
        RunError: none is over.
    """

    def of(configs: list[RunConfig]) -> dict[str, RunDirectory]:
        completed = [on_device(config, device) for config in configs]
        return {config.run_id: RunDirectory(root / config.run_id) for config in completed}

    def over(runs: dict[str, RunDirectory]) -> list[RunDirectory]:
        return [run for run in runs.values() if run.is_over()]

    screening = of(experiment.screening(preset))
    screened = over(screening)
    wanted = of(experiment.final(preset, screened))
    # What comes next is decided by all runs of a stage, not by those that are over first.
    while all(run.is_over() for run in wanted.values()) and (more := of(experiment.further(preset, over(wanted)))):
        wanted |= more
    runs = over(wanted)
    if not runs:
        raise RunError(f"no run to report is over in {root}; the same command without --so-far runs them")
    left = sum(not run.is_over() for run in (screening | wanted).values())
    return Reproduction(experiment.reduce(preset, runs), runs, screened, left)
