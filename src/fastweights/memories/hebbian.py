"""Hebbian learning of a linear layer y = W x, plain and with decay, and the flows that small steps tend to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.memories._inputs import ArrayLike, covariance, rows


def hebb(weights: Float[Tensor, "m n"], inputs: Float[Tensor, "B n"]) -> Float[Tensor, "m n"]:
    """ΔW = E[y xᵀ] = W C with C = E[x xᵀ]: zero weights stay zero, and all others grow without bound."""
    return (inputs @ weights.T).T @ inputs / len(inputs)


@dataclass(frozen=True)
class DecayingHebb:
    """ΔW = E[y xᵀ] − γ W = W (C − γ I): vanishes for γ above C's largest eigenvalue, grows for γ below it.

    Args:
        decay: γ.
    """

    decay: float

    def __call__(self, weights: Float[Tensor, "m n"], inputs: Float[Tensor, "B n"]) -> Float[Tensor, "m n"]:
        return hebb(weights, inputs) - self.decay * weights


def hebb_flow(
    weights: ArrayLike, covariance_matrix: ArrayLike, time: float, *, decay: float = 0.0
) -> Float[Tensor, "m n"]:
    """W(t) = W(0) e^{(C − γI) t}, the solution of dW/dt = W C − γ W.

    W is (m, n) and C (n, n), so the product is W C, or C Wᵀ for the transpose; C W is not defined unless m = n.

    Args:
        weights: W(0), (m, n).
        covariance_matrix: C = E[x xᵀ], symmetric (n, n).
        time: t, of either sign.
        decay: γ.
    """
    if not math.isfinite(time):
        raise UsageError(f"time must be finite, got {time!r}")
    C = covariance("covariance_matrix", covariance_matrix)
    W = rows("weights", weights, size=len(C), like=C)
    identity = torch.eye(len(C), dtype=C.dtype, device=C.device)
    return W @ torch.matrix_exp((C - decay * identity) * time)
