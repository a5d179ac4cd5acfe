"""Setting aside what a crash or a failing disk has damaged of a run, so that the run can go on without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastweights.errors import RunError
from fastweights.training import checkpoint
from fastweights.training.records import RunDirectory


def set_damage_aside(run: RunDirectory) -> list[Path]:
    """Rename damaged files to `damaged-<number>-<name>`; returns the names that they had. The caller holds the lock.

    Without its result, a run goes on from its newest checkpoint; without its metrics or its checkpoint, from its
    beginning. Either way it ends as if nothing had happened.
    """
    damaged = []
    if _raises(run.result):
        damaged.append(run.result_path)
    checkpoints = sorted(run.path.glob("checkpoint-*"))
    if _raises(run.metrics):
        damaged += [run.metrics_path, *checkpoints]
    elif _raises(lambda: checkpoint.load(run.path)):
        damaged += checkpoints
    for path in damaged:
        path.rename(_free(path))
    return damaged


def _raises(read: Callable[[], object]) -> bool:
    try:
        read()
    except RunError:
        return True
    return False


def _free(path: Path) -> Path:
    """A name that is not taken: damage may come twice."""
    number = 0
    while (candidate := path.with_name(f"damaged-{number}-{path.name}")).exists():
        number += 1
    return candidate
