"""A sweep's runs, as far as they have come, reduced to one entry for each combination of settings."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median_low
from typing import Any, Literal

from fastweights.errors import RunError
from fastweights.experiments._pictures import Curve, HeatMap, LearningCurves, Picture, Strips
from fastweights.training.config import RunConfig
from fastweights.training.loop import build_task
from fastweights.training.manifest import settings, varied
from fastweights.training.options import Option
from fastweights.training.records import RunDirectory

Status = Literal["finished", "diverged", "failed", "unfinished"]
_SHOWN = 8
"""Combinations in a picture that has a line or a strip for each."""


@dataclass(frozen=True)
class Entry:
    """One run at a glance."""

    run: RunDirectory
    config: RunConfig
    status: Status
    result: dict[str, Any]
    """Empty while the run is not over."""

    @property
    def score(self) -> tuple[float, float]:
        """Validation error and, for ties, NLL where the run was best; infinite unless it finished."""
        if self.status != "finished" or self.result["validation_error"] is None:
            return math.inf, math.inf
        return self.result["validation_error"], self.result["validation_nll"]


@dataclass(frozen=True)
class Combination:
    """The runs that differ in nothing but their seeds."""

    settings: dict[str, Option | None]
    """Those in which the combinations of the sweep differ, as they are here; None for an option of another cell."""
    entries: tuple[Entry, ...]

    def count(self, status: Status) -> int:
        """Runs of this status."""
        return sum(entry.status == status for entry in self.entries)

    @property
    def scores(self) -> list[tuple[float, float]]:
        """Of the runs that are over, ascending; infinite for one that diverged."""
        return sorted(entry.score for entry in self.entries if entry.status in ("finished", "diverged"))

    @property
    def validation_errors(self) -> list[float]:
        """Of the runs that are over, ascending; infinite for one that diverged."""
        return [error for error, _ in self.scores]

    @property
    def median_error(self) -> float | None:
        """Lower median of the validation errors; None before a run is over, infinite if most have diverged."""
        return median_low(self.validation_errors) if self.validation_errors else None

    @property
    def rank(self) -> tuple[bool, tuple[float, float]]:
        """What combinations are ordered by: the lower median of the scores, if there is any."""
        return (False, median_low(self.scores)) if self.scores else (True, (math.inf, math.inf))

    @property
    def name(self) -> str:
        """Its settings in words."""
        own = {key: value for key, value in self.settings.items() if value is not None or key == "clip_norm"}
        return ", ".join(f"{key} {value}" for key, value in own.items()) or "all runs"


@dataclass(frozen=True)
class Sweep:
    """All combinations, the best on validation first; those of which no run is over come last."""

    combinations: list[Combination]

    @property
    def entries(self) -> list[Entry]:
        """All runs."""
        return [entry for each in self.combinations for entry in each.entries]

    @property
    def best(self) -> Combination | None:
        """The combination that validation selects, if any has a finite median."""
        first = self.combinations[0]
        return first if first.median_error is not None and math.isfinite(first.median_error) else None

    def best_test_errors(self) -> list[float]:
        """Test errors of the best combination's finished runs, ascending. Those of the others decide nothing."""
        results = [entry.result for entry in self.best.entries] if self.best else []
        return sorted(r["test_errors"] / r["test_count"] for r in results if r.get("status") == "finished")


def summarise(runs: Sequence[RunDirectory]) -> Sweep:
    """Reduce at least one run; of a run whose record is damaged, only that it is not over counts."""
    entries = [_entry(run) for run in runs]
    names = varied([entry.config for entry in entries])
    groups: dict[tuple[Option | None, ...], list[Entry]] = {}
    for entry in entries:
        own = settings(entry.config)
        groups.setdefault(tuple(own.get(name) for name in names), []).append(entry)
    found = [
        Combination(dict(zip(names, values, strict=True)), tuple(sorted(group, key=lambda entry: entry.config.seed)))
        for values, group in groups.items()
    ]
    return Sweep(sorted(found, key=lambda each: each.rank))


def pictures(sweep: Sweep) -> dict[str, Picture]:
    """What can be drawn of the runs that are over, by file name.

    The seeds and learning curves of the best combinations, and a heat map for every two settings with several numbers
    each: the best median validation error over all other settings.
    """
    best = [each for each in sweep.combinations if each.median_error is not None][:_SHOWN]
    if not best:
        return {}
    found: dict[str, Picture] = {"seeds": _strips(best), "learning-curves": _learning_curves(best)}
    numeric = [name for name in best[0].settings if len(_values(sweep, name)) > 1]
    for y, x in combinations(numeric, 2):
        found[f"{y}-{x}".replace("_", "-")] = _heat_map(sweep, x, y)
    return found


def _entry(run: RunDirectory) -> Entry:
    config = run.config()
    if run.is_over():
        result = run.result() or {}
        return Entry(run, config, result["status"], result)
    return Entry(run, config, "failed" if run.error_path.exists() and not run.in_use() else "unfinished", {})


def _values(sweep: Sweep, name: str) -> list[float]:
    """The numbers that a setting takes, ascending."""
    taken = {each.settings[name] for each in sweep.combinations}
    return sorted(value for value in taken if isinstance(value, int | float) and not isinstance(value, bool))


def _percent(error: float) -> float | None:
    return 100 * error if math.isfinite(error) else None


def _heat_map(sweep: Sweep, x: str, y: str) -> HeatMap:
    best: dict[tuple[Any, Any], float] = {}
    for each in sweep.combinations:
        if each.median_error is not None:
            place = each.settings[y], each.settings[x]
            best[place] = min(best.get(place, math.inf), each.median_error)
    xs, ys = _values(sweep, x), _values(sweep, y)
    others = [name for name in sweep.combinations[0].settings if name not in (x, y)]
    return HeatMap(
        title="Best over " + ", ".join(others).replace("_", " ") if others else "All combinations",
        value_name="median validation error, %",
        x_name=x,
        x=tuple(f"{value:g}" for value in xs),
        y_name=y,
        y=tuple(f"{value:g}" for value in ys),
        values=tuple(tuple(_percent(best.get((row, column), math.inf)) for column in xs) for row in ys),
    )


def _strips(best: Sequence[Combination]) -> Strips:
    finite = {each.name: [error for error in each.validation_errors if math.isfinite(error)] for each in best}
    return Strips(
        title=_title("Seeds", best),
        value_name="validation error, %",
        groups={name: tuple(100 * error for error in errors) for name, errors in finite.items()},
        without={each.name: len(each.validation_errors) - len(finite[each.name]) for each in best},
    )


def _learning_curves(best: Sequence[Combination]) -> LearningCurves:
    floors = {build_task(each.entries[0].config).no_binding_floor().nll for each in best}
    floor = floors.pop() if len(floors) == 1 else None
    curves = {each.name: _curves(each) for each in best}
    return LearningCurves(_title("Learning curves", best), "validation NLL (nats)", floor, curves)


def _curves(each: Combination) -> list[Curve]:
    found = []
    for entry in each.entries:
        # A damaged curve is no reason to go without all pictures of runs that are over.
        with contextlib.suppress(RunError):
            if entry.result:
                found.append(_curve(entry))
    return found


def _curve(entry: Entry) -> Curve:
    metrics = entry.run.metrics()
    updates, nll = tuple(m["step"] for m in metrics), tuple(m["validation_nll"] for m in metrics)
    return Curve(entry.config.seed, updates, nll, diverged=entry.status == "diverged")


def _title(what: str, best: Sequence[Combination]) -> str:
    return f"{what} of the {len(best)} best on validation" if len(best) == _SHOWN else what
