"""The layer-norm parameters inside the LSTM recurrence."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class LSTMNorm(NamedTuple):
    """Gains and biases of the two norms inside the loop: of W h, (4H,), and of the cell on its way out, (H,)."""

    hh_weight: Tensor
    hh_bias: Tensor
    cell_weight: Tensor
    cell_bias: Tensor
