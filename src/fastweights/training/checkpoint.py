"""Everything a run needs to go on where it was, bit for bit, written so that a kill at any moment leaves a whole one.

A checkpoint is the folder `checkpoint-<step>`: `model.safetensors` (weights now), `best.safetensors` (weights of the
best validation so far, once there is one) and `trainer.pt` (optimiser, random state, counters; read with weights_only,
so nothing in it can execute). It is filled under another name and renamed when complete; then older ones are deleted.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastweights.errors import RunError

_PREFIX = "checkpoint-"


class Checkpoint(NamedTuple):
    """`model` and `best` are state dicts (`best` None before the first evaluation), `trainer` tensors and numbers."""

    model: dict[str, Tensor]
    best: dict[str, Tensor] | None
    trainer: dict[str, Any]


def save(run: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of `step` and delete the older ones."""
    for leftover in run.glob("partial-*"):
        shutil.rmtree(leftover)
    partial = run / f"partial-{step}"
    partial.mkdir()
    save_file(checkpoint.model, partial / "model.safetensors")
    if checkpoint.best is not None:
        save_file(checkpoint.best, partial / "best.safetensors")
    torch.save(checkpoint.trainer, partial / "trainer.pt")
    for file in partial.iterdir():
        _sync(file)
    final = run / f"{_PREFIX}{step}"
    if final.exists():  # a run that was stopped and resumed at the same step writes the same checkpoint again
        shutil.rmtree(final)
    partial.rename(final)
    _sync(run)
    for older in _steps(run)[:-1]:
        shutil.rmtree(run / f"{_PREFIX}{older}")


def load(run: Path) -> Checkpoint | None:
    """The newest checkpoint, or None if there is none yet. Raises RunError if it cannot be read."""
    steps = _steps(run)
    if not steps:
        return None
    path = run / f"{_PREFIX}{steps[-1]}"
    try:
        best = path / "best.safetensors"
        return Checkpoint(
            model=load_file(path / "model.safetensors"),
            best=load_file(best) if best.exists() else None,
            trainer=torch.load(path / "trainer.pt", weights_only=True),
        )
    except Exception as error:  # safetensors and torch raise many kinds for a damaged file
        raise RunError(f"{path} is damaged ({error}); delete that folder and run again") from error


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
