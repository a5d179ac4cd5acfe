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


def align(state: Tensor, field: Tensor) -> Tensor:
    """The sign of the field; a unit without field stays as it is."""
    return torch.where(field == 0, state, field.sign())
