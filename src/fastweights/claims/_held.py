"""How many numbers a recurrent state, or a matrix, holds: measured."""

from __future__ import annotations

import torch
from torch import Tensor

from fastweights.claims._recurrences import fast_weight_step, lstm_step, random_weights
from fastweights.memories import CorrelationMemory, PseudoInverseMemory, random_signs, random_unit_vectors


def lstm_rank(size: int) -> int:
    """Rank of ∂(h, c)_T/∂(z_1 … z_T) of a random LSTM that ran for T = H steps."""
    draw = torch.Generator().manual_seed(size)
    W = torch.randn(4 * size, size, dtype=torch.float64, generator=draw) / size**0.5
    z = torch.randn(size, 4 * size, dtype=torch.float64, generator=draw)

    def run(z: Tensor) -> Tensor:
        h = c = W.new_zeros(size)
        for z_t in z:
            h, c = lstm_step(W)(h, c, z_t)
        return torch.cat((h, c))

    return _rank(torch.func.jacrev(run)(z).flatten(1))


def fast_weight_rank(size: int) -> int:
    """Rank of ∂(h, A)_T/∂(z_1 … z_T) of a random fast-weight network that ran for T = 3H steps."""
    draw = torch.Generator().manual_seed(size)
    step = fast_weight_step(random_weights(size, 0.5, draw), activation="tanh")
    z = torch.randn(3 * size, size, dtype=torch.float64, generator=draw)

    def run(z: Tensor) -> Tensor:
        state: tuple[Tensor, ...] = (z.new_zeros(size), z.new_zeros(size, size))
        for z_t in z:
            state = step(state, z_t)
        return torch.cat([part.flatten() for part in state])

    return _rank(torch.func.jacrev(run)(z).flatten(1))


def _rank(jacobian: Tensor) -> int:
    """How many singular values exceed 1e-9 of the largest: rounding makes 1e-15, forgetting over these runs 1e-6."""
    return int(torch.linalg.matrix_rank(jacobian, rtol=1e-9))


def exact_pairs(size: int) -> int:
    """The largest number of random pairs that an H × H matrix recalls without error, searched from H − 2 to H + 2."""
    draw = torch.Generator().manual_seed(size)
    keys = random_unit_vectors(size + 2, size, generator=draw, dtype=torch.float64)
    values = random_signs(size + 2, size, generator=draw, dtype=torch.float64)

    def error(count: int) -> float:
        memory = PseudoInverseMemory().store(keys[:count], values[:count])
        return (memory.recall(keys[:count]) - values[:count]).abs().max().item()

    return max(count for count in range(size - 2, size + 3) if error(count) < 1e-6)


def outer_product_crosstalk(size: int, pairs: int, trials: int = 20) -> tuple[float, float]:
    """Mean squared error of recall with the outer-product rule, and its standard error over independent memories."""
    draw = torch.Generator().manual_seed(size)
    errors = []
    for _ in range(trials):
        keys = random_unit_vectors(pairs, size, generator=draw, dtype=torch.float64)
        values = random_signs(pairs, size, generator=draw, dtype=torch.float64)
        errors.append((CorrelationMemory().store(keys, values).recall(keys) - values).square().mean())
    found = torch.stack(errors)
    return float(found.mean()), float(found.std()) / trials**0.5
