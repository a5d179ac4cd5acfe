"""What training several runs together gains: a population's update beside those of its members alone."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fastweights.bench.measure import Call, side_by_side
from fastweights.errors import RunError
from fastweights.training import environment
from fastweights.training.config import Device, RunConfig
from fastweights.training.loop import Trainer, advancing, complete
from fastweights.training.population import Population
from fastweights.training.records import RunDirectory, write_atomically

CELLS = ("fast_weights", "irnn", "lstm", "associative_lstm")
HIDDEN_SIZES = (20, 50, 100)
_CHECKED_UPDATES = 5
_CHECKED_MEMBERS = 5
_TOLERANCE = 1e-4
_EVALUATIONS = 3


class Protocol(NamedTuple):
    """How long the runs of an experiment are, for which the times measured are added up; `seeds` train together."""

    updates: int
    evaluate_every: int
    seeds: int


class Point(NamedTuple):
    """What is measured at once."""

    cell: str
    hidden_size: int
    members: int

    def __str__(self) -> str:
        return f"{self.cell} R={self.hidden_size}, {self.members} members"


@dataclass(frozen=True)
class Measurement:
    """Seconds of one update on one thread: a run's alone, and a population's, both as training does them."""

    cell: str
    hidden_size: int
    members: int
    alone: float
    alone_p20: float
    alone_p80: float
    together: float
    together_p20: float
    together_p80: float
    by_kernel: float | None = None
    """On a GPU: of a run alone, launched kernel by kernel in place of a graph."""
    evaluation: float | None = None
    """On a GPU: of one evaluation and checkpoint of every member."""

    @property
    def speed_up(self) -> float:
        """How many times as long the members take one after the other; above 1 the population gains."""
        return self.members * self.alone / self.together


@dataclass(frozen=True)
class Report:
    """What was measured, and with what; `left` is what there was no time for."""

    device: str
    measurements: list[Measurement]
    environment: dict[str, Any]
    left: list[Point] = dataclasses.field(default_factory=list)
    protocol: Protocol | None = None


def run(
    notify: Callable[[str], None],
    *,
    device: Device = "cpu",
    cells: tuple[str, ...] = CELLS,
    hidden_sizes: tuple[int, ...] = HIDDEN_SIZES,
    members: tuple[int, ...] | None = None,
    protocol: Protocol | None = None,
    seconds: float = math.inf,
) -> Report:
    """Time updates of Table 1's protocol, after a check that they are the same updates.

    Args:
        notify: told what is being measured.
        device: on which the runs are trained.
        cells, hidden_sizes, members: every combination is measured. Without `members` it is 4 and 8 on a CPU; on a GPU
            64 fast-weight runs of 50 units, then 5, or as many as the protocol has seeds, of every combination.
        protocol: of an experiment whose time on a GPU is wanted.
        seconds: after which nothing more is begun.

    Raises:
        RunError: a population's losses are not those of its members alone; no time is told then.
    """
    counts, points = members, []
    if counts is None and device == "cuda":
        counts, points = (protocol.seeds if protocol else 5,), [Point("fast_weights", 50, 64)]
    points += [Point(*each) for each in itertools.product(cells, hidden_sizes, counts or (4, 8))]
    surroundings = environment.describe()
    deadline = time.monotonic() + seconds
    measurements: list[Measurement] = []
    with environment.threads(1):
        for point in points:
            if time.monotonic() > deadline:
                break
            notify(str(point))
            measurements.append(_measure(point, device))
    return Report(device, measurements, surroundings, points[len(measurements) :], protocol)


def _measure(point: Point, device: Device) -> Measurement:
    with tempfile.TemporaryDirectory() as folder:
        singles = [_trainer(folder, point, seed, device) for seed in range(min(point.members, _CHECKED_MEMBERS))]
        members = [_trainer(folder, point, seed, device) for seed in range(point.members)]
        population = Population(members)
        _check(population, singles)
        # All end with the losses as numbers, for which a GPU has to be waited.
        calls: dict[str, Call] = {"alone": advancing(singles[0]), "together": population.advance}
        if device == "cuda":
            calls["by kernel"] = lambda: float(singles[-1].update())
        timings = side_by_side(calls)
        at_once = len(population.advance()[0])
        evaluation = _evaluation_seconds(population, members) if device == "cuda" else None
    one, all_ = timings["alone"], timings["together"]
    return Measurement(
        **point._asdict(),
        alone=one.median / at_once,
        alone_p20=one.p20 / at_once,
        alone_p80=one.p80 / at_once,
        together=all_.median / at_once,
        together_p20=all_.p20 / at_once,
        together_p80=all_.p80 / at_once,
        by_kernel=timings["by kernel"].median if device == "cuda" else None,
        evaluation=evaluation,
    )


def _check(population: Population, singles: list[Trainer]) -> None:
    """Raise RunError unless the first losses are those of the members alone, but for rounding."""
    for update in range(_CHECKED_UPDATES):
        expected = [float(single.update()) for single in singles]
        found = population.update()[: len(singles)]
        if not all(math.isclose(a, b, rel_tol=_TOLERANCE) for a, b in zip(expected, found, strict=True)):
            raise RunError(f"nothing was timed: the losses of update {update + 1} are {found}, alone {expected}")


def _evaluation_seconds(population: Population, members: list[Trainer]) -> float:
    """Of what comes after the updates at which all members are due, the checkpoints included."""
    taken = []
    for _ in range(_EVALUATIONS):
        population.advance()
        started = time.perf_counter()
        validation, test = (population.scores(split, range(len(members))) for split in ("validation", "test"))
        for member, scores in zip(members, zip(validation, test, strict=True), strict=True):
            member.evaluate(scores)
            member.save()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _trainer(folder: str, point: Point, seed: int, device: Device) -> Trainer:
    """A run that is nowhere near an evaluation."""
    config = RunConfig(
        cell=point.cell, hidden_size=point.hidden_size, seed=seed, device=device, clip_norm=1.0, updates=10**9,
        evaluate_every=10**9,
    )  # fmt: skip
    if device == "cpu":  # where no evaluation is timed
        config = dataclasses.replace(config, train_size=12_800, validation_size=1, test_size=1)
    return Trainer(RunDirectory.create(Path(folder), complete(config)))


def markdown_table(report: Report) -> str:
    """One row for each cell and size."""
    head = ["cell", "R", "members", "alone, ms", "together, ms a member", "speed-up", "updates/s alone", "together"]
    on_gpu = report.device == "cuda"
    lines = [head + ["by kernel, ms", "evaluation, ms"] * on_gpu]
    lines.append(["---"] + ["---:"] * (len(lines[0]) - 1))
    for m in report.measurements:
        line = [
            m.cell,
            str(m.hidden_size),
            str(m.members),
            f"{1e3 * m.alone:.3g} ({1e3 * m.alone_p20:.3g}–{1e3 * m.alone_p80:.3g})",
            f"{1e3 * m.together / m.members:.3g} "
            f"({1e3 * m.together_p20 / m.members:.3g}–{1e3 * m.together_p80 / m.members:.3g})",
            f"{m.speed_up:.2f}",
            f"{1 / m.alone:,.0f}",
            f"{m.members / m.together:,.0f}",
        ]
        lines.append(line + [_milliseconds(m.by_kernel), _milliseconds(m.evaluation)] * on_gpu)
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e3 * seconds:.3g}"


def summary(report: Report) -> str:
    """Which populations gain, and on what; on a GPU, what the protocol would take."""
    gains = [m for m in report.measurements if m.speed_up > 1]
    speeds = [m.speed_up for m in report.measurements]
    machine = report.environment["gpu" if report.device == "cuda" else "processor"]
    said = [f"{report.device}, one thread, {machine}"]
    if speeds:
        said[0] += (
            f": {len(gains)} of {len(speeds)} populations are faster than their members one after the other; "
            f"speed-up {min(speeds):.2f} to {max(speeds):.2f}"
        )
    if report.left:
        said.append(f"not measured, for want of time: {'; '.join(map(str, report.left))}")
    return ". ".join(said + _protocol_in_words(report))


def _protocol_in_words(report: Report) -> list[str]:
    """How long the runs of the protocol take of all cells and sizes that were measured with as many members."""
    plan = report.protocol
    if plan is None:
        return []
    rows = [m for m in report.measurements if m.members == plan.seeds and m.evaluation is not None]
    if not rows:
        return []
    updates = plan.updates * sum(m.together for m in rows)
    evaluations = plan.updates // plan.evaluate_every * sum(m.evaluation or 0.0 for m in rows)
    return [
        f"At these rates {len(rows)} rows of Table 1, {plan.seeds} seeds each for {plan.updates:,} updates without "
        f"early stop, one population after the other, take {(updates + evaluations) / 60:.0f} minutes, of which "
        f"evaluations and checkpoints {evaluations / 60:.0f}"
    ]


def save(report: Report, folder: Path) -> list[Path]:
    """Write `population.json` and `population.md`; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "population.json", folder / "population.md"]
    write_atomically(paths[0], json.dumps(values(report), indent=1) + "\n")
    write_atomically(paths[1], f"{summary(report)}.\n\n{markdown_table(report)}")
    return paths


def values(report: Report) -> dict[str, Any]:
    """For JSON."""
    measurements = [
        {name: value for name, value in dataclasses.asdict(m).items() if value is not None}
        | {"speed_up": round(m.speed_up, 3)}
        for m in report.measurements
    ]
    plan = {} if report.protocol is None else {"protocol": report.protocol._asdict()}
    left = {} if not report.left else {"not_measured": [str(point) for point in report.left]}
    return {"device": report.device, "measurements": measurements, "environment": report.environment} | plan | left
