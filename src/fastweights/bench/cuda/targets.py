"""What was aimed at on a GPU, and what is: worked out from the measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastweights.bench.cuda.contenders import (
    CUDNN_LSTM,
    CUDNN_LSTM_TF32,
    EAGER,
    GRAPHED_EAGER,
    OUR_LAYER,
    OURS,
    OURS_GRAPHED,
)
from fastweights.bench.cuda.points import TARGET_BATCH, TARGET_STEPS, Point
from fastweights.bench.cuda.run import Measurement
from fastweights.bench.points import Pass

_BOTH: Pass = "forward+backward"
_SMALL = (20, 50, 64, 100, 128)

Seconds = Callable[[str, Pass], float | None]
"""What a contender's pass took at one size; None where it was not measured."""


@dataclass(frozen=True)
class Outcome:
    """One aim and what was measured, by R; None where something that it needs was not."""

    what: str
    aim: float
    unit: str
    at_most: bool
    """Whether the aim is a bound from above."""
    measured: dict[int, float | None]

    def reached(self, hidden_size: int) -> bool | None:
        """Whether the aim is met at this R; None where it was not measured."""
        value = self.measured[hidden_size]
        if value is None:
            return None
        return value <= self.aim if self.at_most else value >= self.aim


def outcomes(measurements: Sequence[Measurement]) -> list[Outcome]:
    """Every aim beside what was measured, at B = 128 and T = 1024: called from Python but where a row names a graph."""
    taken = {(m.contender, m.which, m.point): m.seconds for m in measurements}

    def seconds_at(hidden_size: int) -> Seconds:
        point = Point(hidden_size, TARGET_STEPS, TARGET_BATCH)
        return lambda contender, which: taken.get((contender, which, point))

    def outcome(
        what: str, aim: float, unit: str, at_most: bool, sizes: Sequence[int], value: Callable[[Seconds], float | None]
    ) -> Outcome:
        return Outcome(what, aim, unit, at_most, {size: value(seconds_at(size)) for size in sizes})

    return [
        outcome("forward", 1.5, "µs per step", True, _SMALL, _forward(OURS)),
        outcome("forward, CUDA graph", 1.5, "µs per step", True, _SMALL, _forward(OURS_GRAPHED)),
        outcome("backward: forward+backward less forward", 3.0, "µs per step", True, _SMALL, _backward(OURS)),
        outcome("backward, CUDA graph", 3.0, "µs per step", True, _SMALL, _backward(OURS_GRAPHED)),
        outcome(f"{EAGER}, forward+backward", 50, "× ours", False, _SMALL, _ratio(EAGER, OURS)),
        outcome(f"{GRAPHED_EAGER}, forward+backward", 10, "× ours", False, _SMALL, _ratio(GRAPHED_EAGER, OURS)),
        outcome(f"{CUDNN_LSTM}, forward+backward", 1, "× our layer", False, _SMALL, _ratio(CUDNN_LSTM, OUR_LAYER)),
        outcome(
            f"{CUDNN_LSTM_TF32}, forward+backward", 1, "× our layer", False, _SMALL, _ratio(CUDNN_LSTM_TF32, OUR_LAYER)
        ),
        outcome(f"{EAGER}, forward+backward", 8, "× ours", False, (256,), _ratio(EAGER, OURS)),
    ]


def _forward(contender: str) -> Callable[[Seconds], float | None]:
    def of_a_step(seconds: Seconds) -> float | None:
        taken = seconds(contender, "forward")
        return None if taken is None else 1e6 * taken / TARGET_STEPS

    return of_a_step


def _backward(contender: str) -> Callable[[Seconds], float | None]:
    def of_a_step(seconds: Seconds) -> float | None:
        forward, both = seconds(contender, "forward"), seconds(contender, _BOTH)
        return None if forward is None or both is None else 1e6 * (both - forward) / TARGET_STEPS

    return of_a_step


def _ratio(other: str, own: str) -> Callable[[Seconds], float | None]:
    def ratio(seconds: Seconds) -> float | None:
        theirs, ours = seconds(other, _BOTH), seconds(own, _BOTH)
        return None if theirs is None or ours is None else theirs / ours

    return ratio
