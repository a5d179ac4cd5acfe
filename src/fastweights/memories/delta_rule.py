"""The delta rule (Widrow & Hoff 1960), and the fast-weight memory that it makes: DeltaNet (Schlag et al. 2021)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.memories._inputs import at_least, positive
from fastweights.memories.base import LinearMemory


class DeltaMemory(LinearMemory):
    """A ← A + η (g − A f) fᵀ for each pair in turn: what is written is the error of the recall.

    A key that returns overwrites its value instead of adding to it; η‖f‖² = 1 does so at once. With η‖f‖² in (0, 2)
    for all keys, many epochs over linearly independent keys converge to the pseudo-inverse memory.

    Args:
        learning_rate: η > 0.
        epochs: passes over the pairs of each `store`, ≥ 1.
    """

    def __init__(self, learning_rate: float = 1.0, epochs: int = 1) -> None:
        super().__init__()
        self.learning_rate = positive("learning_rate", learning_rate)
        self.epochs = at_least("epochs", epochs, 1)

    def _learn(
        self, weights: Float[Tensor, "m n"], keys: Float[Tensor, "P n"], values: Float[Tensor, "P m"]
    ) -> Float[Tensor, "m n"]:
        for _ in range(self.epochs):
            for f, g in zip(keys, values, strict=True):
                weights = torch.addr(weights, g - weights @ f, f, alpha=self.learning_rate)
        return weights


def delta_net(queries: Tensor, keys: Tensor, values: Tensor, rates: Tensor) -> Float[Tensor, "B T m"]:
    """Read a delta-rule memory after each of its writes, all steps at once: o_t = A_t q_t with A_0 = 0 and

        A_t = A_{t−1} + β_t (v_t − A_{t−1} k_t) k_tᵀ                      (Schlag, Irie & Schmidhuber 2021)

    A_t = Σ_{τ≤t} u_τ k_τᵀ, where the errors written, u_t = β_t (v_t − Σ_{τ<t} u_τ k_τᵀk_t), solve one triangular system
    (Yang et al. 2024, Section 3). So A is never formed, as in the attention form of the fast weights.

    Args:
        queries, keys: (B, T, n).
        values: (B, T, m).
        rates: β, (B, T).

    Raises UsageError for other shapes.
    """
    if keys.dim() != 3 or queries.shape != keys.shape or not rates.shape == keys.shape[:2] == values.shape[:-1]:
        raise UsageError(
            "queries and keys must be (B, T, n), values (B, T, m) and rates (B, T); got "
            f"{tuple(queries.shape)}, {tuple(keys.shape)}, {tuple(values.shape)} and {tuple(rates.shape)}"
        )
    β = rates.unsqueeze(-1)
    # The diagonal that unitriangular=True ignores holds β_t k_tᵀk_t.
    written: Tensor = torch.linalg.solve_triangular(β * (keys @ keys.mT), β * values, upper=False, unitriangular=True)
    return (queries @ keys.mT).tril() @ written
