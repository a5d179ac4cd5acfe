"""The benchmark: gate, then every contender at every size, timed side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fastweights import kernels
from fastweights.bench.contenders import Calls, Contender, all_contenders
from fastweights.bench.gate import Check, passed_checks
from fastweights.bench.measure import peak_memory, side_by_side
from fastweights.bench.points import Pass, Point, Scope, fast_weight_flops
from fastweights.kernels.native import library
from fastweights.training import environment


@dataclass(frozen=True)
class Measurement:
    """One contender's pass at one size; `skipped` says why there are no numbers."""

    contender: str
    scope: Scope
    which: Pass
    hidden_size: int
    steps: int
    batch: int
    threads: int
    seconds: float | None = None
    p20: float | None = None
    p80: float | None = None
    gflops: float | None = None
    peak_fraction: float | None = None
    memory: int | None = None
    """Bytes that a forward and backward pass takes at most."""
    skipped: str | None = None


@dataclass(frozen=True)
class Report:
    """What was measured, and with what."""

    gate: list[Check]
    fma_gflops: dict[int, float]
    """Measured peak of multiply-adds, for each number of threads; empty without the compiled core."""
    measurements: list[Measurement]
    environment: dict[str, Any]


def run(points: tuple[Point, ...], notify: Callable[[str], None]) -> Report:
    """Measure all contenders at all points.

    Args:
        points: the sizes.
        notify: told what is being measured.

    Raises:
        RunError: a backend differs from the reference; then nothing is timed.
    """
    gate = passed_checks()
    peaks: dict[int, float] = {}
    measurements: list[Measurement] = []
    for point in points:
        notify(str(point))
        with environment.threads(point.threads):
            if point.threads not in peaks and "cpu" not in kernels.missing_backends():
                peaks[point.threads] = library.fma_peak_gflops(point.threads)
            measurements += _measure(point, peaks.get(point.threads))
        torch.compiler.reset()
    return Report(gate, peaks, measurements, environment.describe())


def _measure(point: Point, peak: float | None) -> Iterator[Measurement]:
    calls: dict[str, Calls] = {}
    contenders = all_contenders()
    for contender in contenders:
        if contender.why_not(point) is None:
            calls[contender.name] = contender.prepare(point)
    memory = {name: peak_memory(call.forward_backward) for name, call in calls.items()}
    passes: tuple[Pass, ...] = ("forward", "forward+backward")
    for which in passes:
        timings = side_by_side({name: call.of(which) for name, call in calls.items()})
        for contender in contenders:
            skipped = contender.why_not(point)
            if skipped is not None:
                yield Measurement(contender.name, contender.scope, which, **asdict(point), skipped=skipped)
                continue
            timing = timings[contender.name]
            gflops = _gflops(contender, point, which, timing.median)
            yield Measurement(
                contender.name,
                contender.scope,
                which,
                **asdict(point),
                seconds=timing.median,
                p20=timing.p20,
                p80=timing.p80,
                gflops=gflops,
                peak_fraction=None if gflops is None or peak is None else gflops / peak,
                memory=memory[contender.name],
            )


def _gflops(contender: Contender, point: Point, which: Pass, seconds: float) -> float | None:
    """Useful arithmetic of the fast-weight recurrence per second; None for everything else."""
    if contender.scope != "recurrence":
        return None
    return fast_weight_flops(point.hidden_size, point.steps, point.batch, which) / seconds / 1e9
