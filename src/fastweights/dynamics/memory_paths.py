"""The two ways from c_{T−k} to c_T in a recurrence (h, c) ← F(h, c, x) such as the LSTM's.

The direct path stays in the cell: each step contributes ∂c_t/∂c_{t−1} with h_{t−1} held, which is the identity for the
LSTM of 1997 and diag(f_t) with a forget gate. The total derivative adds every path that leaves through h and comes back
through the gates; the two are equal at lag 1 and differ from lag 2 on. "Constant" describes the first, not the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError

CellStep = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class MemoryPaths(NamedTuple):
    """∂c_T/∂c_{T−k} for the lags k = 1 … T, (T, N, N) each: through the cell alone, and altogether."""

    direct: Float[Tensor, "T N N"]
    total: Float[Tensor, "T N N"]


def memory_paths(
    step: CellStep, h: Float[Tensor, " H"], c: Float[Tensor, " N"], inputs: Float[Tensor, "T I"]
) -> MemoryPaths:
    """Both derivatives for one sequence; `step` takes h, c and one input to the next (h, c).

    Raises UsageError if there are no inputs.
    """
    if inputs.dim() != 2 or len(inputs) == 0:
        raise UsageError(f"inputs must be (T, I) with T ≥ 1, got shape {tuple(inputs.shape)}")
    derivative = torch.func.jacrev(step, argnums=(0, 1))
    full, direct = [], []
    for x in inputs:
        (h_h, h_c), (c_h, c_c) = derivative(h, c, x)
        full.append(torch.cat((torch.cat((h_h, h_c), dim=1), torch.cat((c_h, c_c), dim=1))))
        direct.append(c_c)
        h, c = step(h, c, x)
    size = len(c)
    return MemoryPaths(_products(direct), _products(full)[:, -size:, -size:])


def _products(jacobians: list[Tensor]) -> Tensor:
    """J_T, J_T J_{T−1}, … , J_T ⋯ J_1."""
    products = [jacobians[-1]]
    for J in reversed(jacobians[:-1]):
        products.append(products[-1] @ J)
    return torch.stack(products)
