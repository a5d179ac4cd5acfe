"""What is measured on a GPU: sizes in the order of their importance, and what no implementation can do without."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

from fastweights.bench.points import Pass, fast_weight_flops

HIDDEN_SIZES = (20, 50, 64, 100, 128, 256, 512)
_STEPS, _BATCHES, _MEMBERS = (11, 128, 1024), (1, 128, 1024), (1, 64)
TARGET_STEPS, TARGET_BATCH = 1024, 128
"""T and B at which the targets are set."""


@dataclass(frozen=True)
class Point:
    """One size of the problem: `members` models with `batch` sequences each; float32, S = 1, layer norm."""

    hidden_size: int
    steps: int
    batch: int
    members: int = 1

    def __str__(self) -> str:
        return f"R = {self.hidden_size}, T = {self.steps}, B = {self.batch}, P = {self.members}"

    @property
    def sequences(self) -> int:
        """How many there are in all."""
        return self.members * self.batch


class Preset(NamedTuple):
    """Points in the order in which they are measured, and those at which torch.compile is, after all others."""

    points: tuple[Point, ...]
    compiled: tuple[Point, ...]


def _column(steps: int, batch: int, members: int) -> list[Point]:
    return [Point(size, steps, batch, members) for size in HIDDEN_SIZES]


_TARGETS = _column(TARGET_STEPS, TARGET_BATCH, 1)
_GRID = [
    *_TARGETS,
    *_column(11, 128, 1),
    *_column(11, 128, 64),
    *(
        point
        for members, steps, batch in itertools.product(_MEMBERS, _STEPS, _BATCHES)
        for point in _column(steps, batch, members)
    ),
]

# torch.compile takes up to minutes for a size.
_COMPILED = Point(50, 11, 128), Point(128, 11, 128)

PRESETS = {
    "targets": Preset((*_TARGETS, Point(50, 11, 128)), ()),
    "compiled": Preset(_COMPILED, _COMPILED),
    "full": Preset(tuple(dict.fromkeys(_GRID)), _COMPILED),
}


def flops(point: Point, which: Pass) -> int:
    """Arithmetic of the fast-weight recurrence of all members."""
    return fast_weight_flops(point.hidden_size, point.steps, point.sequences, which)


def least_bytes(point: Point, which: Pass) -> int:
    """Memory traffic that no implementation of the recurrence avoids.

    A forward pass reads z and writes out; a backward pass reads z, out and the gradient of out and writes that of z.
    What else an implementation keeps for its backward pass, and reads again, is its own affair and not counted.
    """
    tensor = 4 * point.sequences * point.steps * point.hidden_size
    return (2 if which == "forward" else 6) * tensor
