"""What is known after a network of ±1 units has run until nothing changes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Relaxation(NamedTuple):
    """Final states and the energy on the way, for B probes run together.

    `state` is (B, N). `energy`, (steps + 1, B), starts with the probes'; a step is the update of one unit if they take
    turns, of all units if they move together. `period`, (B,), is 1 at a fixed point, 2 on a cycle of two states, and 0
    if neither was reached.
    """

    state: Float[Tensor, "B N"]
    energy: Float[Tensor, "steps B"]
    period: Int[Tensor, " B"]


def align(state: Tensor, field: Tensor, rounding: Tensor | float = 0.0) -> Tensor:
    """The sign of the field; a unit whose field is no larger than `rounding` has none and stays as it is."""
    return torch.where(field.abs() <= rounding, state, field.sign())


def rounding_of(weights: Float[Tensor, "N N"]) -> Float[Tensor, " N"]:
    """How far a field Σ_j W_ij x_j, x_j = ±1, may be from zero when its exact value is zero.

    Whole-number patterns make such ties common, and 1/N is not exact in binary: without this bound the order of
    summation would decide them.
    """
    return 4 * torch.finfo(weights.dtype).eps * weights.abs().sum(dim=1)
