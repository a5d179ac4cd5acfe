"""What training several runs together gains: a population's update beside those of its members alone."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fastweights.bench.measure import side_by_side
from fastweights.errors import RunError
from fastweights.training import environment
from fastweights.training.config import RunConfig
from fastweights.training.loop import Trainer, complete
from fastweights.training.population import Population
from fastweights.training.records import RunDirectory, write_atomically

CELLS = ("fast_weights", "irnn", "lstm", "associative_lstm")
HIDDEN_SIZES = (20, 50, 100)
MEMBERS = (4, 8)
_CHECKED_UPDATES = 5
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Measurement:
    """Seconds of one update on one thread: a run's alone, and a population's."""

    cell: str
    hidden_size: int
    members: int
    alone: float
    alone_p20: float
    alone_p80: float
    together: float
    together_p20: float
    together_p80: float

    @property
    def speed_up(self) -> float:
        """How many times as long the members take one after the other; above 1 the population gains."""
        return self.members * self.alone / self.together


@dataclass(frozen=True)
class Report:
    """What was measured, and with what."""

    device: str
    measurements: list[Measurement]
    environment: dict[str, Any]


def run(
    notify: Callable[[str], None],
    *,
    cells: tuple[str, ...] = CELLS,
    hidden_sizes: tuple[int, ...] = HIDDEN_SIZES,
    members: tuple[int, ...] = MEMBERS,
) -> Report:
    """Time updates of Table 1's protocol, on the GPU if there is one, after a check that they are the same updates.

    Args:
        notify: told what is being measured.
        cells, hidden_sizes, members: every combination is measured.

    Raises:
        RunError: a population's losses are not those of its members alone; no time is told then.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    measurements = []
    with environment.threads(1):
        for cell in cells:
            for hidden_size in hidden_sizes:
                for count in members:
                    notify(f"{cell} R={hidden_size}, {count} members")
                    measurements.append(_measure(cell, hidden_size, count, device))
    return Report(device, measurements, environment.describe())


def _measure(cell: str, hidden_size: int, members: int, device: str) -> Measurement:
    with tempfile.TemporaryDirectory() as folder:
        singles = [_trainer(Path(folder), cell, hidden_size, seed, device) for seed in range(members)]
        population = Population([_trainer(Path(folder), cell, hidden_size, seed, device) for seed in range(members)])
    _check(population, singles)
    # Both end with the losses as numbers, for which a GPU has to be waited.
    timings = side_by_side({"alone": lambda: float(singles[0].update()), "together": population.update})
    one, all_ = timings["alone"], timings["together"]
    return Measurement(cell, hidden_size, members, one.median, one.p20, one.p80, all_.median, all_.p20, all_.p80)


def _check(population: Population, singles: list[Trainer]) -> None:
    """Raise RunError unless the first losses are those of the members alone, but for rounding."""
    for update in range(_CHECKED_UPDATES):
        expected, found = [float(single.update()) for single in singles], population.update()
        if not all(math.isclose(a, b, rel_tol=_TOLERANCE) for a, b in zip(expected, found, strict=True)):
            raise RunError(f"nothing was timed: the losses of update {update + 1} are {found}, alone {expected}")


def _trainer(folder: Path, cell: str, hidden_size: int, seed: int, device: str) -> Trainer:
    base = RunConfig(train_size=12_800, validation_size=1, test_size=1, clip_norm=1.0)
    config = dataclasses.replace(base, cell=cell, hidden_size=hidden_size, seed=seed, device=device)  # type: ignore[arg-type]
    return Trainer(RunDirectory.create(folder, complete(config)))


def markdown_table(report: Report) -> str:
    """One row for each cell and size."""
    lines = [("cell", "R", "members", "alone, ms", "together, ms a member", "speed-up"), ("---", *["---:"] * 5)]
    for m in report.measurements:
        lines.append(
            (
                m.cell,
                str(m.hidden_size),
                str(m.members),
                f"{1e3 * m.alone:.3g} ({1e3 * m.alone_p20:.3g}–{1e3 * m.alone_p80:.3g})",
                f"{1e3 * m.together / m.members:.3g} "
                f"({1e3 * m.together_p20 / m.members:.3g}–{1e3 * m.together_p80 / m.members:.3g})",
                f"{m.speed_up:.2f}",
            )
        )
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def summary(report: Report) -> str:
    """Which populations gain, and on what."""
    gains = [m for m in report.measurements if m.speed_up > 1]
    speeds = [m.speed_up for m in report.measurements]
    return (
        f"{report.device}, one thread, {report.environment['processor']}: {len(gains)} of {len(speeds)} populations "
        f"are faster than their members one after the other; speed-up {min(speeds):.2f} to {max(speeds):.2f}"
    )


def save(report: Report, folder: Path) -> list[Path]:
    """Write `population.json` and `population.md`; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "population.json", folder / "population.md"]
    write_atomically(paths[0], json.dumps(values(report), indent=1) + "\n")
    write_atomically(paths[1], f"{summary(report)}.\n\n{markdown_table(report)}")
    return paths


def values(report: Report) -> dict[str, Any]:
    """For JSON."""
    measurements = [dataclasses.asdict(m) | {"speed_up": round(m.speed_up, 3)} for m in report.measurements]
    return {"device": report.device, "measurements": measurements, "environment": report.environment}
