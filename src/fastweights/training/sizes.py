"""How large the recurrent layer of a run is, without the memory to hold it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from fastweights import cells
from fastweights.cells.base import RecurrentLayer
from fastweights.training.config import RunConfig


class LayerSize(NamedTuple):
    """`parameters`: slow ones, that training changes. `state`: numbers carried along for one sequence."""

    parameters: int
    state: int


def layer_size(config: RunConfig) -> LayerSize:
    """Counted on the layer itself, made without storage."""
    make: Callable[..., RecurrentLayer] = cells.load(config.cell)
    layer = make(config.input_size, config.hidden_size, device="meta", **config.cell_options)
    return LayerSize(
        sum(parameter.numel() for parameter in layer.parameters()),
        sum(math.prod(size) for size in layer.state_sizes),
    )
