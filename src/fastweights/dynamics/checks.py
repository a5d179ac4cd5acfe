"""Arguments that several files refuse alike."""

from __future__ import annotations

import torch
from torch import Tensor

from fastweights.errors import UsageError


def check_square(name: str, matrix: Tensor) -> None:
    """Raise UsageError unless `matrix` is square, not empty and finite."""
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1] or matrix.numel() == 0:
        raise UsageError(f"{name} must be a square matrix (N, N), got shape {tuple(matrix.shape)}")
    check_finite(name, matrix)


def check_finite(name: str, value: Tensor) -> None:
    """Raise UsageError if `value` holds inf or NaN, and name the first such entry."""
    broken = ~torch.isfinite(value)
    if broken.any():
        index = tuple(broken.nonzero()[0].tolist())
        raise UsageError(f"{name} must be finite, got {value[index].item()} at {index}")
