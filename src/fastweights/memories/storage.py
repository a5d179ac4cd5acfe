"""How a Hopfield network stores patterns: three rules (W, patterns) → W, each adding to what W already holds."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def hebb(weights: Float[Tensor, "N N"], patterns: Float[Tensor, "P N"]) -> Float[Tensor, "N N"]:
    """W + (1/N) Σ_μ ξ_μ ξ_μᵀ (Hopfield 1982): one matrix product for all patterns."""
    return torch.addmm(weights, patterns.T, patterns, alpha=1 / len(weights))


def storkey(weights: Float[Tensor, "N N"], patterns: Float[Tensor, "P N"]) -> Float[Tensor, "N N"]:
    """W + (1/N)(ξ_i ξ_j − ξ_i h_ji − h_ij ξ_j) off the diagonal, pattern after pattern (Storkey 1997).

    h_ij = Σ_{k≠i,j} W_ik ξ_k is the field of unit i without the one it changes; W's diagonal is zero throughout, so
    h_ij = (W ξ)_i − W_ij ξ_j and all of ΔW are outer products and W itself.
    """
    size = len(weights)
    W = weights.clone().fill_diagonal_(0)
    for ξ in patterns:
        field = W @ ξ
        W = W + (torch.outer(ξ, ξ - field) - torch.outer(field, ξ) + 2 * W) / size
        W.fill_diagonal_(0)
    return W


def projection(weights: Float[Tensor, "N N"], patterns: Float[Tensor, "P N"]) -> Float[Tensor, "N N"]:
    """W = Ξ Ξ⁺, the projector onto the span of all patterns (pseudo-inverse rule; Personnaz, Guyon & Dreyfus 1985).

    `weights` must be such a projector, or zero; it grows by the span of what the new patterns add to it.
    """
    residual = patterns - patterns @ weights
    _, strength, directions = torch.linalg.svd(residual, full_matrices=False)
    new = directions[strength > len(weights) * torch.finfo(weights.dtype).eps * patterns.norm()]
    grown: Tensor = weights + new.T @ new
    return grown
