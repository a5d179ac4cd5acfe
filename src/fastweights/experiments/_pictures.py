"""The numbers that a figure shows; drawing them is the report's."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import NamedTuple


class Curve(NamedTuple):
    """The NLL of one run while it trained: `nll[i]` after `updates[i]` updates, None where it was not finite."""

    seed: int
    updates: tuple[int, ...]
    nll: tuple[float | None, ...]
    diverged: bool


class Band(NamedTuple):
    """Lowest, middle (the lower of two) and highest NLL of several runs; infinite where a run had diverged."""

    updates: tuple[int, ...]
    low: tuple[float, ...]
    middle: tuple[float, ...]
    high: tuple[float, ...]


def band(curves: Sequence[Curve]) -> Band:
    """The runs together, from the first update that all have a value for.

    A run that stopped early counts on with its last value: its weights are kept.
    """
    begin = max((curve.updates[0] for curve in curves if curve.updates), default=0)
    steps = sorted({step for curve in curves for step in curve.updates if step >= begin})
    columns = [sorted(_value_at(curve, step) for curve in curves) for step in steps]
    return Band(
        tuple(steps),
        tuple(column[0] for column in columns),
        tuple(median_low(column) for column in columns),
        tuple(column[-1] for column in columns),
    )


def _value_at(curve: Curve, step: int) -> float:
    index = bisect.bisect_right(curve.updates, step) - 1
    value = curve.nll[index] if index >= 0 else None
    ended = curve.diverged and step > curve.updates[-1] if curve.updates else True
    return math.inf if value is None or ended else value


@dataclass(frozen=True)
class LearningCurves:
    """NLL against updates: the runs of each cell, or of each set of settings."""

    title: str
    value_name: str
    """With its unit, as in "test NLL (nats)"."""
    floor: float | None
    """The NLL at which nothing is bound; None if it is not the same for all."""
    curves: dict[str, list[Curve]]
    published: dict[str, float | None] = field(default_factory=dict)
    """Test NLL at the end of each cell's curve in the paper, after its budget of 750,000 updates."""


@dataclass(frozen=True)
class HeatMap:
    """One number for every pair of two settings: `values[i][j]` at `y[i]` and `x[j]`, None where none was measured."""

    title: str
    value_name: str
    """With its unit, as in "median validation error, %"."""
    x_name: str
    x: tuple[str, ...]
    y_name: str
    y: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Strips:
    """One number for every seed, in a strip for each group; a run that has none, as one that diverged, is counted."""

    title: str
    value_name: str
    groups: dict[str, tuple[float, ...]]
    without: dict[str, int] = field(default_factory=dict)
    """For each group, runs that have no number."""
    published: dict[str, float | None] = field(default_factory=dict)
    """For each group, the paper's number."""


Picture = LearningCurves | HeatMap | Strips
