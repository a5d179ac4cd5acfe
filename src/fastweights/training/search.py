"""Adaptive search for a good configuration: Optuna proposes, sweeps decide (extra `hpo`).

Nothing is kept but the runs: Optuna's proposals follow from its seed and from the results told to it, in batches of a
fixed size and in order. So the same search proposes the same runs again, finds them finished, and goes on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fastweights import cells, tasks
from fastweights.errors import UsageError, check_count
from fastweights.training import options
from fastweights.training.config import RunConfig, field_types
from fastweights.training.manifest import grid
from fastweights.training.options import Option
from fastweights.training.records import RunDirectory

Bounds = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Search:
    """What is searched.

    Args:
        base: what all runs share; its seed is Optuna's too.
        ranges: lowest and highest value for each name (see `manifest.grid`); whole numbers if the field is one. Where
            the highest is at least ten times the lowest, the scale is logarithmic.
        choices: values between which to choose, for each name.
        seeds: of every proposal, which is judged by the median of their validation NLLs.
        trials: proposals in all, ≥ 1.
        batch: proposals made at a time, before their results are known, ≥ 1.
    """

    base: RunConfig
    ranges: Mapping[str, Bounds]
    choices: Mapping[str, Sequence[Option]]
    seeds: Sequence[int]
    trials: int
    batch: int = 4

    def check(self) -> None:
        """Raise UsageError for what cannot be searched."""
        for name in ("trials", "batch"):
            check_count(name, getattr(self, name))
        if not self.ranges and not self.choices:
            raise UsageError("a search needs a --range or a --grid to search in")
        for name, (low, high) in self.ranges.items():
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise UsageError(f"range of {name} must be two finite numbers, the lower one first; got {low} {high}")
            if name in self.choices:
                raise UsageError(f"{name} has both a range and a grid; give one")
        RunConfig(seed=self.base.seed).checked()
        # What a configuration is held to holds between any values if it holds between their ends.
        ends = {name: [self._typed(name, bound) for bound in bounds] for name, bounds in self.ranges.items()}
        grid(self.base, {**self.choices, **ends}, self.seeds)

    def _typed(self, name: str, value: float) -> Option:
        """A bound as the field takes it."""
        whole = _is_whole(self, name)
        if whole and value != int(value):
            raise UsageError(f"range of {name} must be whole numbers, got {value}")
        return int(value) if whole else value


def search(what: Search, run: Callable[[list[RunConfig]], Sequence[RunDirectory]]) -> Iterator[list[RunDirectory]]:
    """Propose batch after batch and bring it to its end with `run`; yields the runs of each batch.

    Raises UsageError if Optuna is not installed, or see `Search.check`.
    """
    what.check()
    try:
        import optuna
    except ImportError as error:
        raise UsageError("trials needs Optuna: pip install 'fastweights[hpo]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=what.base.seed % 2**32))
    space = {name: _distribution(what, name) for name in what.ranges} | {
        name: optuna.distributions.CategoricalDistribution(list(values)) for name, values in what.choices.items()
    }
    for start in range(0, what.trials, what.batch):
        asked = [study.ask(space) for _ in range(min(what.batch, what.trials - start))]
        groups = [grid(what.base, {name: [trial.params[name]] for name in space}, what.seeds) for trial in asked]
        runs = {each.path.name: each for each in run([config for group in groups for config in group])}
        for trial, group in zip(asked, groups, strict=True):
            study.tell(trial, _median_nll([runs[config.run_id] for config in group]))
        yield list(runs.values())


def _distribution(what: Search, name: str) -> Any:
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high = what.ranges[name]
    wide = low > 0 and high >= 10 * low
    if _is_whole(what, name):
        return IntDistribution(int(low), int(high), log=wide)
    return FloatDistribution(low, high, log=wide)


def _is_whole(what: Search, name: str) -> bool:
    """Whether a field, or an option of the task or the (first) cell, takes whole numbers."""
    task, cell = ((what.choices.get(each) or [getattr(what.base, each)])[0] for each in ("task", "cell"))
    known = options.hints(tasks.load(str(task))) | options.hints(cells.load(str(cell))) | field_types()
    return known.get(name) in (int, int | None)


def _median_nll(runs: Sequence[RunDirectory]) -> float:
    """Lower median of the best validation NLLs; a run that diverged counts as infinite."""
    found = []
    for run in runs:
        result = run.result() or {}
        nll = result["validation_nll"] if result.get("status") == "finished" else None
        found.append(math.inf if nll is None else nll)
    return sorted(found)[(len(found) - 1) // 2]
