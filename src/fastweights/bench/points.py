"""What is measured: sizes, and how much arithmetic they need."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

INPUT_SIZE = 100
"""Width of a layer's input, as in Table 1."""

Scope = Literal["recurrence", "layer", "training step"]
Pass = Literal["forward", "forward+backward"]


@dataclass(frozen=True)
class Point:
    """One size of the problem; float32, S = 1, layer norm for fast weights."""

    hidden_size: int
    steps: int
    batch: int
    threads: int

    def __str__(self) -> str:
        return f"R={self.hidden_size} T={self.steps} B={self.batch}, {self.threads} thread(s)"


TABLE_1 = Point(hidden_size=50, steps=11, batch=128, threads=1)
"""A mini-batch of the paper's Table 1."""

PRESETS: dict[str, tuple[Point, ...]] = {
    "quick": (TABLE_1,),
    "targets": (
        Point(20, 11, 128, 1),
        TABLE_1,
        Point(100, 11, 128, 1),
        Point(128, 1024, 32, 1),
        *(Point(50, steps, 8, 1) for steps in (1024, 2048, 4096, 8192, 16384)),
    ),
    "full": tuple(
        Point(*sizes) for sizes in itertools.product((20, 50, 100, 128, 256), (11, 64, 256, 1024), (1, 32, 128), (1, 2))
    ),
}


def fast_weight_flops(size: int, steps: int, sequences: int, which: Pass) -> int:
    """Floating-point operations of the fast-weight recurrence at S = 1, by the cheaper form of A h at each step.

    Step t costs 2R² for W h, and for A h either 4tR (attention over t stored vectors) or 2R², with 3R² to update A. A
    backward pass costs twice its forward pass: each product has two factors to find the gradient of.
    """
    forward = sum(2 * size**2 + min(4 * t * size, 5 * size**2) for t in range(steps)) * sequences
    return forward if which == "forward" else 3 * forward
