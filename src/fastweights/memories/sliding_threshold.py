"""The rule of Bienenstock, Cooper & Munro (1982): Hebbian above a threshold that slides, anti-Hebbian below."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def bcm(weights: Float[Tensor, "m n"], inputs: Float[Tensor, "B n"]) -> Float[Tensor, "m n"]:
    """ΔW = E[φ(y, θ) xᵀ] with φ = y (y − θ) and the threshold θ = E[y²] of each unit (Intrator & Cooper 1992).

    θ is taken over the rows of `inputs`, which must therefore stand for the whole distribution (`batch_size=None` in
    `learn`). For K linearly independent inputs of equal frequency the stable fixed points are the selective ones:
    y = K for one input and 0 for the others.
    """
    y = inputs @ weights.T
    threshold = (y**2).mean(dim=0)
    return (y * (y - threshold)).T @ inputs / len(inputs)
