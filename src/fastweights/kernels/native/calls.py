"""What the operators of the compiled core share: the memory that they hand over, and its shapes."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.kernels.native import library


def contiguous(*tensors: Tensor | None) -> list[Any]:
    """Each tensor laid out as the core reads it, one that is a view to be negated (`Tensor.is_neg`) as its values; None
    stays None.
    """
    return [None if tensor is None else tensor.resolve_neg().contiguous() for tensor in tensors]


def check_lengths(lengths: Tensor | None, steps: int) -> None:
    """Raise UsageError unless every length is one of 1 … `steps`; the core would return memory that it never wrote."""
    if lengths is None:
        return
    low, high = (int(end) for end in lengths.aminmax())
    if low < 1 or high > steps:
        raise UsageError(f"lengths must be within 1 … {steps}, got {low} … {high}")


def members(lead: Sequence[int]) -> int:
    """P, given the leading dimensions."""
    return math.prod(lead)


def blocks(batch: int, dtype: torch.dtype) -> int:
    """⌈B / lanes⌉, the blocks of one member."""
    return -(-batch // library.lanes(dtype))


def buffer(like: Tensor, lead: tuple[int, ...], width: int) -> Tensor:
    """Uninitialised memory for `width` vectors of lanes, for each of `lead`."""
    return like.new_empty(*lead, width * library.lanes(like.dtype))


def check_saved(saved: Tensor, batch: int, width: int) -> None:
    """Raise UsageError unless `saved` is `width` vectors of lanes for each block, as the forward pass left it."""
    if saved.numel() == 0:
        raise UsageError("the forward pass ran under torch.no_grad() and kept nothing to differentiate")
    if saved.shape[-2:] != (blocks(batch, saved.dtype), width * library.lanes(saved.dtype)):
        raise UsageError("the SIMD width was changed between the forward and the backward pass; force one for both")


def run_core(function: str, direction: Literal["forward", "backward"], call: Any, tensors: dict[str, Any]) -> None:
    """Call the core on a structure with its sizes filled in, and these tensors or None for its pointers."""
    for name, tensor in tensors.items():
        if tensor is not None:
            setattr(call, name, tensor.data_ptr())  # null for an empty one
    like = tensors["saved"]
    width = library.function(f"{function}_scratch", like.dtype)(
        ctypes.byref(call), ctypes.c_int64(direction == "backward")
    )
    scratch = buffer(like, (call.threads,), width)
    call.scratch = scratch.data_ptr()
    packed = torch.empty_like(tensors["weight_hh"])
    call.packed = packed.data_ptr()
    library.function(f"{function}_{direction}", like.dtype)(ctypes.byref(call))
