"""Setting aside what a crash or a failing disk has damaged of a run, so that the run can go on without it."""

from __future__ import annotations

from pathlib import Path

from fastweights.errors import RunError
from fastweights.training import checkpoint
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory


def set_damage_aside(run: RunDirectory) -> list[Path]:
    """Rename damaged files to `damaged-<number>-<name>`; returns the names that they had. The caller holds the lock.

    Without its result, a run goes on from its newest checkpoint; without its metrics or its checkpoint, from its
    beginning. Either way it ends as if nothing had happened. A run with a whole result is left alone.

    Raises RunError if the configuration is damaged.
    """
    if run.is_over():
        return []
    damaged = [run.result_path] if run.result_path.exists() else []
    if not _can_go_on(run, run.config()):
        damaged += sorted([*run.path.glob(run.metrics_path.name), *run.path.glob("checkpoint-*")])
    for path in damaged:
        path.rename(_free(path))
    return damaged


def _can_go_on(run: RunDirectory, config: RunConfig) -> bool:
    """Whether metrics and checkpoint can be read, and every evaluation that the checkpoint follows upon is there."""
    try:
        saved, metrics = checkpoint.load(run.path), run.metrics()
    except RunError:
        return False
    step = 0 if saved is None else saved.trainer["progress"]["step"]
    evaluated = {s for s in (*range(0, step + 1, config.evaluate_every), config.updates) if 0 < s <= step}
    return evaluated <= {entry["step"] for entry in metrics}


def _free(path: Path) -> Path:
    """A name that is not taken: damage may come twice."""
    number = 0
    while (candidate := path.with_name(f"damaged-{number}-{path.name}")).exists():
        number += 1
    return candidate
