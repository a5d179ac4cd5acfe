"""Theory of the gamma memory (de Vries & Principe 1992); the trainable layer is `fastweights.cells.gamma_memory`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.memories._inputs import at_least


def impulse_responses(order: int, resolution: float, steps: int) -> Float[Tensor, "taps steps"]:
    """g_k(t) = C(t−1, k−1) μ^k (1−μ)^{t−k} for t ≥ k: what tap k = 0 … K holds t steps after a unit impulse.

    g_0 is the impulse itself. For μ < 1, g_k is the distribution of the time of the k-th success (negative binomial).

    Args:
        order: K ≥ 1.
        resolution: μ in (0, 1]; for 1 the taps are pure delays.
        steps: number of times t = 0, 1, …

    Returns:
        (K + 1, steps), float64.
    """
    at_least("order", order, 1)
    at_least("steps", steps, 1)
    _check_resolution(resolution)
    t = torch.arange(steps, dtype=torch.float64)
    k = torch.arange(1, order + 1, dtype=torch.float64)[:, None]
    waited = (t - k).clamp(min=0)
    ways = torch.lgamma(t.clamp(min=1)) - torch.lgamma(k) - torch.lgamma(waited + 1)
    response = torch.exp(ways) * resolution**k * (1 - resolution) ** waited
    impulse = torch.zeros(1, steps, dtype=torch.float64)
    impulse[0, 0] = 1
    return torch.cat([impulse, torch.where(t >= k, response, 0.0)])


def depth(order: int, resolution: float) -> float:
    """K/μ: the mean time of the last tap's impulse response, for μ in (0, 1]."""
    _check_resolution(resolution)
    return at_least("order", order, 1) / resolution


def _check_resolution(resolution: float) -> None:
    if not 0 < resolution <= 1:
        raise UsageError(f"resolution must be in (0, 1], got {resolution!r}")
