"""Experiments whose rows are configurations that validation chose: screened with one seed, reported with others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fastweights.experiments.base import Experiment, result_of
from fastweights.training.config import RunConfig
from fastweights.training.loop import complete, on_device
from fastweights.training.records import RunDirectory

SCREENING_SEED = 0


@dataclass(frozen=True)
class Entry:
    """One row before it is run."""

    candidates: tuple[RunConfig, ...]
    """Complete configurations between which validation decides, with the screening's seed and budget."""
    updates: int
    """Budget of the runs that are reported."""
    seeds: tuple[int, ...]
    """Theirs; SCREENING_SEED is not among them, for what was used to select is not reported."""

    def reported(self, screened: Mapping[str, RunDirectory]) -> list[RunConfig]:
        """The runs that are reported, given the screened ones by run id; none before all of its own are there."""
        chosen = self.candidates[0]
        if len(self.candidates) > 1:
            if not all(candidate.run_id in screened for candidate in self.candidates):
                return []
            chosen = best([screened[candidate.run_id] for candidate in self.candidates])
        return [replace(chosen, seed=seed, updates=self.updates) for seed in self.seeds]


@dataclass(frozen=True)
class Budget:
    """What the entries of an experiment get. What is given as a dict is by model."""

    learning_rates: tuple[float, ...] | dict[str, tuple[float, ...]]
    updates: int
    seeds: tuple[int, ...]
    evaluate_every: int = 500
    weight_decays: tuple[float, ...] = (0.0,)
    screening: dict[str, int] = field(default_factory=dict)
    """Updates of a screening run, for the models where they are not those of the runs that are reported."""

    def entry(self, *configs: RunConfig) -> Entry:
        """Each of `configs`, which share the rest, at every weight decay and rate, which falls to zero as a cosine."""
        candidates = [
            complete(
                replace(
                    config,
                    learning_rate=learning_rate,
                    weight_decay=weight_decay,
                    schedule="cosine",
                    updates=self.screening.get(config.cell, self.updates),
                    evaluate_every=self.evaluate_every,
                    seed=SCREENING_SEED,
                )
            )
            for config in configs
            for weight_decay in self.weight_decays
            for learning_rate in self._rates(config.cell)
        ]
        return Entry(tuple(candidates), self.updates, self.seeds)

    def _rates(self, cell: str) -> tuple[float, ...]:
        rates = self.learning_rates
        return rates[cell] if isinstance(rates, dict) else rates


class SelectedByValidation(Experiment):
    """An experiment over entries."""

    @abstractmethod
    def entries(self, preset: str) -> list[Entry]:
        """Its rows."""

    def screening(self, preset: str) -> list[RunConfig]:
        entries = self.entries(preset)
        return [candidate for entry in entries if len(entry.candidates) > 1 for candidate in entry.candidates]

    def final(self, preset: str, screened: Sequence[RunDirectory]) -> list[RunConfig]:
        # Entries know nothing of devices; their candidates may have been run on another one.
        by_id = {on_device(run.config(), "cpu").run_id: run for run in screened}
        return [config for entry in self.entries(preset) for config in entry.reported(by_id)]


def best(screened: Sequence[RunDirectory]) -> RunConfig:
    """The configuration with the lowest validation error, then NLL; a run that diverged comes last."""

    def rank(run: RunDirectory) -> tuple[bool, float, float]:
        result = result_of(run)
        error, nll = result["validation_error"], result["validation_nll"]
        return result["status"] != "finished", 1.0 if error is None else error, float("inf") if nll is None else nll

    return min(screened, key=rank).config()
