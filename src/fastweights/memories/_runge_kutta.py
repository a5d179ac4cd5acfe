"""The classical Runge–Kutta method of order four with a fixed step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def trajectory(field: Callable[[Tensor], Tensor], start: Tensor, *, duration: float, steps: int) -> Tensor:
    """States of dx/dt = field(x) at the times 0, duration/steps, …, duration, stacked before the state's dimensions."""
    step = duration / steps
    states = [start]
    for _ in range(steps):
        x = states[-1]
        k1 = field(x)
        k2 = field(x + step / 2 * k1)
        k3 = field(x + step / 2 * k2)
        k4 = field(x + step * k3)
        states.append(x + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return torch.stack(states)
