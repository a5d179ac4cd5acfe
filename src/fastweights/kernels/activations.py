"""The two nonlinearities f of the recurrences, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Activation = Literal["relu", "tanh"]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}


def activation_function(name: Activation) -> Callable[[Tensor], Tensor]:
    """The function called `name`."""
    return ACTIVATIONS[name]
