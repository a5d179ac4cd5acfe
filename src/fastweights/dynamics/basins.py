"""Which attractor each start ends at: basins of attraction on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastweights.dynamics.maps import Step, evaluate
from fastweights.errors import UsageError, check_count


def grid(lower: Sequence[int | float], upper: Sequence[int | float], resolution: int) -> Float[Tensor, "B N"]:
    """The resolutionᴺ points of a box, (B, N), the last coordinate running fastest; float64.

    Raises UsageError unless −∞ < lower < upper < ∞ in every coordinate, of one at least, and resolution ≥ 2.
    """
    if not 0 < len(lower) == len(upper) or not all(
        -math.inf < a < b < math.inf for a, b in zip(lower, upper, strict=True)
    ):
        raise UsageError(
            f"lower must be below upper in every coordinate, both finite, got {list(lower)} and {list(upper)}"
        )
    check_count("resolution", resolution, 2)
    axes = [torch.linspace(a, b, resolution, dtype=torch.float64) for a, b in zip(lower, upper, strict=True)]
    return torch.cartesian_prod(*axes).reshape(-1, len(axes))


def basins(
    step: Step,
    attractors: Float[Tensor, "M N"],
    starts: Float[Tensor, "B N"],
    *,
    steps: int,
    tolerance: float = 1e-3,
) -> Int[Tensor, " B"]:
    """For every start, the number of the attracting point that it is within `tolerance` of after `steps`; −1 for none.

    Starts that diverge, or settle on something that is not in the list, get −1. Raises UsageError if step is not
    finite at a start.
    """
    if attractors.dim() != 2 or attractors.shape[1:] != starts.shape[1:]:
        raise UsageError(f"attractors must be (M, {starts.shape[-1]}), got shape {tuple(attractors.shape)}")
    check_count("number of attractors", len(attractors))
    check_count("steps", steps, 1)
    batched = torch.func.vmap(step)
    x = evaluate("step", step, starts)
    for _ in range(steps - 1):
        x = batched(x)
    distances = (x[:, None] - attractors).norm(dim=2).nan_to_num(nan=torch.inf)
    nearest = distances.min(dim=1)
    return torch.where(nearest.values <= tolerance, nearest.indices, -1)
