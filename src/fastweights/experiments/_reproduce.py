"""Running an experiment: screen the candidates if there are several, then make the runs that are reported.

Or, while that goes on, reducing what is there.
"""

from __future__ import annotations

from pathlib import Path

from fastweights.errors import RunError
from fastweights.experiments.base import Experiment, Outcome
from fastweights.training.config import RunConfig
from fastweights.training.loop import complete
from fastweights.training.records import RunDirectory
from fastweights.training.sweep import Follow, Place, run_all


def reproduce(
    experiment: Experiment,
    preset: str,
    *,
    root: Path,
    place: Place,
    follow: Follow,
    population: int = 1,
) -> tuple[Outcome, list[RunDirectory]]:
    """Bring all runs of a preset to their end, resuming what is there, and reduce them.

    `follow` opens what observes each of the stages: "screening", "runs", and "further runs" as often as there are any.
    `population` is that of `run_all`. Returns what the experiment shows and the runs that it reports.
    """

    def stage(name: str, configs: list[RunConfig]) -> list[RunDirectory]:
        completed = [complete(config) for config in configs]
        with follow(name, completed) as observe:
            return run_all(completed, root, place=place, observe=observe, population=population)

    candidates = experiment.screening(preset)
    screened = stage("screening", candidates) if candidates else []
    runs = stage("runs", experiment.final(preset, screened))
    while further := experiment.further(preset, runs):
        runs += stage("further runs", further)
    return experiment.reduce(preset, runs), runs


def so_far(experiment: Experiment, preset: str, *, root: Path) -> tuple[Outcome, list[RunDirectory], int]:
    """Reduce the runs of a preset that are over, and start none; rows without any are left out.

    Returns what `reproduce` does, and how many more runs are known to be wanted; those of a row whose screening is not
    over are not.

    Raises:
        RunError: none is over.
    """

    def of(configs: list[RunConfig]) -> dict[str, RunDirectory]:
        return {config.run_id: RunDirectory(root / config.run_id) for config in map(complete, configs)}

    def over(runs: dict[str, RunDirectory]) -> list[RunDirectory]:
        return [run for run in runs.values() if run.is_over()]

    screening = of(experiment.screening(preset))
    wanted = of(experiment.final(preset, over(screening)))
    while (more := of(experiment.further(preset, over(wanted)))).keys() - wanted.keys():
        wanted |= more
    runs = over(wanted)
    if not runs:
        raise RunError(f"no run to report is over in {root}; the same command without --so-far runs them")
    left = sum(not run.is_over() for run in (screening | wanted).values())
    return experiment.reduce(preset, runs), runs, left
