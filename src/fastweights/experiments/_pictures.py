"""The numbers that a figure shows; drawing them is the report's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Curve(NamedTuple):
    """Test NLL of one run while it trained: `nll[i]` after `updates[i]` updates, None where it was not finite."""

    seed: int
    updates: tuple[int, ...]
    nll: tuple[float | None, ...]
    diverged: bool


@dataclass(frozen=True)
class LearningCurves:
    """Test NLL against updates for each cell, and the NLL at which nothing is bound."""

    title: str
    floor: float
    curves: dict[str, list[Curve]]
    published: dict[str, float | None]
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
    without: dict[str, int]
    """For each group, runs that have no number."""
    published: dict[str, float | None]
    """For each group, the paper's number."""


Picture = LearningCurves | HeatMap | Strips
