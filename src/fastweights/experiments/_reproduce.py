"""Running an experiment: screen the candidates if there are several, then make the runs that are reported."""

from __future__ import annotations

from pathlib import Path

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
