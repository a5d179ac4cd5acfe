"""Fast weights with layer norm where eq. 5 has it, and where the report's final version prints it.

λ = 0.95, η = 0.5, R = 50, S = 3, ReLU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from fastweights import kernels


def _slow_inputs(steps: int) -> tuple[Tensor, Tensor]:
    """W = 0.05 I, the paper's start, and random input products (steps, 50)."""
    draw = torch.Generator().manual_seed(14)
    return 0.05 * torch.eye(50, dtype=torch.float64), torch.randn(steps, 50, dtype=torch.float64, generator=draw)


def whole_norms(steps: int) -> Tensor:
    """‖h_1‖ … of eq. 5."""
    W, z = _slow_inputs(steps)
    gain, bias = W.new_ones(50), W.new_zeros(50)
    out, _ = kernels.fast_weights(
        z[None], W, gain, bias, decay=0.95, fast_learning_rate=0.5, inner_steps=3, backend="reference"
    )
    norms: Tensor = out[0].norm(dim=1)
    return norms


def misplaced_norms(steps: int) -> Tensor:
    """‖h_1‖ … of the loop as the final version prints it."""
    W, z = _slow_inputs(steps)
    h, A = W.new_zeros(50), W.new_zeros(50, 50)
    norms = []
    for z_t in z:
        boundary = layer_norm(W @ h + z_t, (50,))
        h = torch.relu(boundary)
        for _ in range(3):
            h = torch.relu(boundary + A @ h)
        A = 0.95 * A + 0.5 * torch.outer(h, h)
        norms.append(h.norm())
    return torch.stack(norms)
