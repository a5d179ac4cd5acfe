"""Arguments that several files refuse alike."""

from __future__ import annotations

import torch
from torch import Tensor

from fastweights.errors import UsageError


def check_real(name: str, value: object) -> None:
    """Raise UsageError unless `value` is a tensor of real floating-point numbers."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise UsageError(f"{name} must be a floating-point tensor, got {got}; use torch.tensor(…, dtype=torch.float64)")


def check_square(name: str, matrix: Tensor) -> None:
    """Raise UsageError unless `matrix` is real, square, not empty and finite."""
    check_real(name, matrix)
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1] or matrix.numel() == 0:
        raise UsageError(f"{name} must be a square matrix (N, N), got shape {tuple(matrix.shape)}")
    check_finite(name, matrix)


def check_finite(name: str, value: Tensor) -> None:
    """Raise UsageError unless `value` is real and finite, and name the first entry that is not."""
    check_real(name, value)
    broken = ~torch.isfinite(value)
    if broken.any():
        index = tuple(broken.nonzero()[0].tolist())
        raise UsageError(f"{name} must be finite, got {value[index].item()} at {index}")
