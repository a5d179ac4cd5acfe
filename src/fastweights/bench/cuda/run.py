"""The benchmark on a GPU: gate, ceilings, then every contender at every size, the most important sizes first."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fastweights import kernels
from fastweights.bench.cuda.contenders import Contender, compiled_contenders, contenders
from fastweights.bench.cuda.machine import Ceilings, Machine, ceilings, rounding
from fastweights.bench.cuda.points import Point, Preset, flops, least_bytes
from fastweights.bench.gate import Check, passed_checks
from fastweights.bench.points import Pass, Scope
from fastweights.training import environment

_PASSES: tuple[Pass, ...] = ("forward", "forward+backward")
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Measurement:
    """One contender's pass at one size; `skipped` says why there are no numbers.

    `gflops` is the useful arithmetic of the fast-weight recurrence, in the cheaper form at each step, per second, and
    `float32_fraction` what that is of the measured float32 ceiling. `copy_fraction` is the least traffic (see
    `points.least_bytes`) per second as a part of the copying bandwidth. Both are low for a recurrence, whose steps wait
    for each other; they say how much the device could still give. Layers have none of the three.
    """

    contender: str
    scope: Scope
    which: Pass
    hidden_size: int
    steps: int
    batch: int
    members: int
    seconds: float | None = None
    p20: float | None = None
    p80: float | None = None
    samples: int | None = None
    gflops: float | None = None
    float32_fraction: float | None = None
    copy_fraction: float | None = None
    memory: int | None = None
    """Bytes by which the pass raises the allocated memory at most; None where a CUDA graph has set them aside."""
    skipped: str | None = None

    @property
    def point(self) -> Point:
        """The size."""
        return Point(self.hidden_size, self.steps, self.batch, self.members)


@dataclass(frozen=True)
class Report:
    """What was measured so far, and with what; `ours` is the backend that is called so."""

    device: str
    ours: str
    gate: list[Check]
    ceilings: Ceilings
    measurements: list[Measurement]
    environment: dict[str, Any]
    seconds: float


def run(
    preset: Preset,
    machine: Machine,
    notify: Callable[[str], None],
    keep: Callable[[Report], object],
    *,
    budget: float | None = None,
    ours: kernels.Backend = "triton",
) -> Report:
    """Measure all contenders at all points of the preset.

    Args:
        preset: the sizes.
        machine: where; see `machine.gpu`.
        notify: told what is being measured.
        keep: given what there is after every point.
        budget: seconds from the start after which no further contender is begun; None is no limit. What is left is
            recorded as skipped.
        ours: the backend that is compared with the others.

    Raises:
        RunError: a backend differs from the reference; then nothing is timed.
    """
    started = time.monotonic()
    gate = passed_checks(machine.device)
    most = ceilings(machine)
    surroundings = environment.describe()
    measurements: list[Measurement] = []

    def elapsed() -> float:
        return time.monotonic() - started

    def report() -> Report:
        return Report(machine.name, ours, gate, most, list(measurements), surroundings, round(elapsed(), 1))

    plan = [(point, contenders(point, ours)) for point in preset.points]
    plan += [(point, compiled_contenders()) for point in preset.compiled]
    for point, group in plan:
        if budget is None or elapsed() < budget:
            notify(f"{point}, after {elapsed():.0f} s")
        for contender, which in itertools.product(group, _PASSES):
            blank = Measurement(contender.name, contender.scope, which, **dataclasses.asdict(point))
            if budget is not None and elapsed() >= budget:
                blank = dataclasses.replace(blank, skipped=f"not measured: the time budget of {budget:g} s was used up")
            measurements.append(blank if blank.skipped else _measure(blank, contender, machine, most))
        keep(report())
    return report()


def _measure(blank: Measurement, contender: Contender, machine: Machine, most: Ceilings) -> Measurement:
    point, which = blank.point, blank.which
    if reason := contender.why_not(point, which, machine):
        return dataclasses.replace(blank, skipped=reason)
    try:
        with rounding(tf32=contender.tf32):
            timing, memory = machine.measure(contender.prepare(point, which, machine))
    except Exception as error:  # many people's code at its limits: whatever it raises is its result
        measured = dataclasses.replace(blank, skipped=_reason(error))
    else:
        measured = dataclasses.replace(
            blank,
            seconds=timing.median,
            p20=timing.p20,
            p80=timing.p80,
            samples=timing.samples,
            memory=None if contender.graphed else memory,
        )
    # By now an error is gone, and with it what its traceback held. The memory of a graph serves no other contender.
    if measured.skipped or contender.graphed:
        _free(machine, thoroughly=measured.skipped is not None)
    return _with_rates(measured, most) if measured.seconds and contender.scope == "recurrence" else measured


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:_LONGEST_REASON]


def _with_rates(m: Measurement, most: Ceilings) -> Measurement:
    assert m.seconds is not None
    gflops = flops(m.point, m.which) / m.seconds / 1e9
    gigabytes = least_bytes(m.point, m.which) / m.seconds / 1e9
    return dataclasses.replace(
        m,
        gflops=gflops,
        float32_fraction=gflops / most.float32_gflops,
        copy_fraction=gigabytes / most.copy_gigabytes,
    )


def _free(machine: Machine, *, thoroughly: bool) -> None:
    """Give unused memory back to the device; `thoroughly` also what only the garbage collector finds, more slowly."""
    if thoroughly:
        gc.collect()
    if machine.device == "cuda":
        # A device that has failed for good says so at the next contender, too.
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()
