"""Capacity curves: how the errors of recall grow with the load s/N, for any memory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError, unknown_name
from fastweights.memories._inputs import at_least
from fastweights.memories.base import Kind
from fastweights.memories.patterns import random_signs


class CapacityCurve(NamedTuple):
    """Entry by entry: load s/N, the fraction of wrong bits, and the fraction of items recalled without any."""

    load: Float[Tensor, " loads"]
    bit_error: Float[Tensor, " loads"]
    perfect: Float[Tensor, " loads"]


def capacity_curve(
    make_memory: Callable[[], Any],
    units: int,
    counts: Sequence[int],
    *,
    kind: Kind = "autoassociative",
    distort: Callable[[Tensor], Tensor] = lambda keys: keys,
    trials: int = 1,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> CapacityCurve:
    """Store random ±1 patterns in fresh memories and recall them all from (distorted) keys.

    Args:
        make_memory: makes an empty memory with `store` and `recall`.
        units: N, of keys and of values.
        counts: numbers of patterns s to store, one point of the curve each.
        kind: whether values are the keys or patterns of their own.
        distort: what happens to the keys (P, N) before recall, for example `flip` or `erase`.
        trials: memories to average for each point, ≥ 1.
        generator, dtype, device: for the patterns.
    """
    if not counts:
        raise UsageError("counts must name at least one number of patterns, got an empty sequence")
    if kind not in get_args(Kind):
        raise unknown_name("kind", kind, get_args(Kind))
    at_least("trials", trials, 1)
    if kind == "heteroassociative" and "values" not in inspect.signature(make_memory().store).parameters:
        raise UsageError('kind must be "autoassociative": this memory stores patterns, not pairs')
    errors = torch.zeros(len(counts), trials, 2, dtype=torch.float64)
    for point, count in enumerate(counts):
        for trial in range(trials):
            keys = random_signs(count, units, generator=generator, dtype=dtype, device=device)
            if kind == "autoassociative":
                values, memory = keys, make_memory().store(keys)
            else:
                values = random_signs(count, units, generator=generator, dtype=dtype, device=device)
                memory = make_memory().store(keys, values)
            wrong = memory.recall(distort(keys)).sign() != values
            errors[point, trial, 0] = wrong.double().mean()
            errors[point, trial, 1] = 1 - wrong.any(dim=1).double().mean()
    mean = errors.mean(dim=1)
    return CapacityCurve(torch.tensor(counts, dtype=torch.float64) / units, mean[:, 0], mean[:, 1])
