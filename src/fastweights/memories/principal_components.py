"""Hebbian learning that normalises itself: Oja's rule (1982), and Sanger's (1989) for several components in order."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.memories._inputs import ArrayLike, covariance, rows


def oja(weights: Float[Tensor, "m n"], inputs: Float[Tensor, "B n"]) -> Float[Tensor, "m n"]:
    """ΔW = E[y xᵀ − y² W], every row w by itself: w tends to ± the leading unit eigenvector of C = E[x xᵀ]."""
    y = inputs @ weights.T
    return (y.T @ inputs - (y**2).sum(dim=0)[:, None] * weights) / len(inputs)


def sanger(weights: Float[Tensor, "m n"], inputs: Float[Tensor, "B n"]) -> Float[Tensor, "m n"]:
    """ΔW = E[y xᵀ − LT(y yᵀ) W], LT the lower triangle: the rows of W tend to the first m eigenvectors of C, in order.

    Each row learns by Oja's rule from what the rows above it leave (generalised Hebbian algorithm).
    """
    y = inputs @ weights.T
    return (y.T @ inputs - (y.T @ y).tril() @ weights) / len(inputs)


def oja_flow(weights: ArrayLike, covariance_matrix: ArrayLike, time: float) -> Float[Tensor, "m n"]:
    """w(t) = e^{Ct} w₀ / √(1 + w₀ᵀ(e^{2Ct} − I) w₀) for every row, the solution of dw/dt = C w − (wᵀC w) w.

    Args:
        weights: w₀ in each row, (m, n).
        covariance_matrix: C = E[x xᵀ], symmetric (n, n).
        time: t ≥ 0, finite.
    """
    if not 0 <= time < math.inf:
        raise UsageError(f"time must be finite and at least 0, got {time!r}")
    C = covariance("covariance_matrix", covariance_matrix)
    w0 = rows("weights", weights, size=len(C), like=C)
    eigenvalues, vectors = torch.linalg.eigh(C)
    a = w0 @ vectors
    # Numerator and denominator both divided by the largest e^{λt} that the row contains, so that neither overflows nor
    # vanishes for large t.
    growth = eigenvalues * time
    top = torch.where(a == 0, -torch.inf, growth).amax(dim=1, keepdim=True).clamp_min(0)
    relative = torch.exp(torch.where(a == 0, -torch.inf, growth - top))
    shrink = torch.exp(-2 * top)
    squared = shrink + (a**2 * (relative**2 - shrink)).sum(dim=1, keepdim=True)
    w: Tensor = (a * relative / squared.sqrt()) @ vectors.T
    return w
