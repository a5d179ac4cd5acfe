"""What a caller hands to a memory, as tensors, or one UsageError that names the argument."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fastweights.errors import UsageError, check_count

ArrayLike = Tensor | NDArray[Any] | Sequence[Any]


def vectors(
    name: str, value: ArrayLike, *, size: int | None = None, like: Tensor | None = None
) -> Float[Tensor, "*batch N"]:
    """`value` as finite vectors (..., N) of floating point, N = `size` and dtype and device of `like` where given."""
    try:
        tensor = torch.as_tensor(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(f"{name} must be an array of numbers whose rows all have one length: {error}") from None
    if tensor.is_complex():
        raise UsageError(f"{name} must be real, got dtype {tensor.dtype}")
    if like is not None:
        tensor = tensor.to(like)
    elif not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    if tensor.dim() == 0 or 0 in tensor.shape:
        raise UsageError(f"{name} must hold at least one vector of at least one entry, got shape {tuple(tensor.shape)}")
    if size is not None and tensor.shape[-1] != size:
        raise UsageError(f"{name} must have {size} entries in its last dimension, got shape {tuple(tensor.shape)}")
    if not tensor.isfinite().all():
        raise UsageError(f"{name} must be finite, but contains NaN or infinity")
    return tensor


def rows(name: str, value: ArrayLike, *, size: int | None = None, like: Tensor | None = None) -> Float[Tensor, "P N"]:
    """`value` as a matrix of one finite vector a row; see `vectors`."""
    tensor = vectors(name, value, size=size, like=like)
    if tensor.dim() != 2:
        raise UsageError(f"{name} must be a matrix with one vector a row, got shape {tuple(tensor.shape)}")
    return tensor


def signs(name: str, value: ArrayLike, *, size: int | None = None, like: Tensor | None = None) -> Float[Tensor, "P N"]:
    """`value` as a matrix of one vector of ±1 a row."""
    tensor = rows(name, value, size=size, like=like)
    if not (tensor.abs() == 1).all():
        wrong = tensor[tensor.abs() != 1][0].item()
        raise UsageError(f"{name} must consist of −1 and +1, but contains {wrong:g}; map 0/1 patterns by 2x − 1")
    return tensor


def square(name: str, value: ArrayLike) -> Float[Tensor, "N N"]:
    """`value` as a finite square matrix."""
    tensor = rows(name, value)
    if tensor.shape[0] != tensor.shape[1]:
        raise UsageError(f"{name} must be square, got shape {tuple(tensor.shape)}")
    return tensor


def covariance(name: str, value: ArrayLike) -> Float[Tensor, "N N"]:
    """`value` as a finite symmetric matrix, to rounding."""
    tensor = square(name, value)
    if not torch.allclose(tensor, tensor.T):
        raise UsageError(f"{name} must be symmetric, as E[x xᵀ] is; its largest asymmetry is {_asymmetry(tensor):g}")
    return tensor


def positive(name: str, value: float) -> float:
    """`value` if it is a number, finite and above zero."""
    if not isinstance(value, Real) or not 0 < value < float("inf"):
        raise UsageError(f"{name} must be finite and above 0, got {value!r}")
    return value


def at_least(name: str, value: int, least: int) -> int:
    """`value` if it is a whole number no less than `least`."""
    check_count(name, value, least)
    return value


def _asymmetry(matrix: Tensor) -> float:
    return float((matrix - matrix.T).abs().max())
