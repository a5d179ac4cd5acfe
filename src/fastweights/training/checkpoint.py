"""Everything a run needs to go on where it was, bit for bit, written so that a kill at any moment leaves a whole one.

A checkpoint is the folder `checkpoint-<step>`: `model.safetensors` (weights now), `best.safetensors` (weights of the
best validation so far, once there is one) and `trainer.pt` (optimiser, random state, counters; read with weights_only,
so nothing in it can execute). It is filled under another name and renamed when complete; then older ones are deleted.
"""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor

from fastweights.errors import RunError
from fastweights.training.records import passes

_PREFIX = "checkpoint-"


class Checkpoint(NamedTuple):
    """`model` and `best` are state dicts (`best` None before the first evaluation), `trainer` tensors and numbers."""

    model: dict[str, Tensor]
    best: dict[str, Tensor] | None
    trainer: dict[str, Any]


def save(run: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of `step` and delete the older ones. Raises RunError, with those kept, if it cannot."""
    for leftover in run.glob("partial-*"):
        shutil.rmtree(leftover)
    final = run / f"{_PREFIX}{step}"
    if final.exists():  # stopped and resumed without an update between: it would be the same again
        return
    partial = run / f"partial-{step}"
    try:
        _write(partial, checkpoint)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(f"cannot write {final}: {error.strerror or error}; the run keeps its last checkpoint") from error
    partial.rename(final)
    _sync(run)
    for older in _steps(run)[:-1]:
        shutil.rmtree(run / f"{_PREFIX}{older}")


def load(run: Path) -> Checkpoint | None:
    """The newest checkpoint, or None if there is none yet.

    Raises:
        RunError: it is damaged.
        OSError, MemoryError: the machine is short of something; the checkpoint may well be whole.
    """
    steps = _steps(run)
    if not steps:
        return None
    path = run / f"{_PREFIX}{steps[-1]}"
    try:
        best = path / "best.safetensors"
        return Checkpoint(
            model=load_file(path / "model.safetensors"),
            best=load_file(best) if best.exists() else None,
            trainer=torch.load(path / "trainer.pt", map_location="cpu", weights_only=True),
        )
    except Exception as error:  # safetensors and torch raise many kinds for a damaged file
        if passes(error):
            raise
        raise RunError(f"{path} is damaged ({error}); delete that folder and run again") from error


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    """Fill `folder`. Everything is serialised in memory first, so that a failing disk is an OSError that says so."""
    trainer = io.BytesIO()
    torch.save(checkpoint.trainer, trainer)
    contents = {"model.safetensors": serialise(checkpoint.model), "trainer.pt": trainer.getvalue()}
    if checkpoint.best is not None:
        contents["best.safetensors"] = serialise(checkpoint.best)
    folder.mkdir()
    for name, content in contents.items():
        with open(folder / name, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _steps(run: Path) -> list[int]:
    """Steps of the complete checkpoints, ascending."""
    found = (path.name.removeprefix(_PREFIX) for path in run.glob(f"{_PREFIX}*"))
    return sorted(int(step) for step in found if step.isdecimal())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
