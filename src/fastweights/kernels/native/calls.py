"""What the operators of the compiled core share: memory they hand over, and members stacked by vmap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastweights.kernels.native import library


def contiguous(*tensors: Tensor | None) -> list[Any]:
    """Each tensor laid out as the core reads it; None stays None."""
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def pointer(tensor: Tensor | None) -> int | None:
    """Address of a tensor's first number; null for none and for an empty one."""
    return None if tensor is None or tensor.numel() == 0 else tensor.data_ptr()


def blocks(z: Tensor) -> int:
    """N = P ⌈B / lanes⌉ for z of shape (P, B, …)."""
    return z.shape[0] * -(-z.shape[1] // library.lanes(z.dtype))


def buffer(like: Tensor, count: int, width: int) -> Tensor:
    """Uninitialised memory for `count` × `width` vectors of lanes, (count, width · lanes)."""
    return torch.empty(count, width * library.lanes(like.dtype), dtype=like.dtype, device=like.device)


def flatten_members(size: int, in_dims: Sequence[int | None], arguments: Sequence[Any]) -> list[Any]:
    """Arguments with the mapped dimension, or copies for those without it, merged into the dimension of members."""
    flat = []
    for dim, argument in zip(in_dims, arguments, strict=True):
        if isinstance(argument, Tensor):
            stacked = argument.expand(size, *argument.shape) if dim is None else argument.movedim(dim, 0)
            argument = stacked.flatten(0, 1)
        flat.append(argument)
    return flat


def unflatten_members(size: int, results: Sequence[Tensor]) -> tuple[Any, Any]:
    """Results with the mapped dimension split off again, in front."""
    return tuple(torch.unflatten(result, 0, (size, -1)) for result in results), (0,) * len(results)
