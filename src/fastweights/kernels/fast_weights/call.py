"""What the engines of the fused recurrence have in common: the results of a backward pass."""

from __future__ import annotations

from torch import Tensor

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""Of z, W, gain, bias, h(0) and A(0); those of what was not given are empty."""


def empty_gradients(weight_hh: Tensor, norm_weight: Tensor | None, sizes: list[int]) -> Gradients:
    """Gradients not yet computed; `sizes` are B, T and whether h(0) and A(0) were given."""
    batch, steps, has_h0, has_A0 = sizes
    *lead, hidden, _ = weight_hh.shape
    normed = hidden if norm_weight is not None else 0
    initial, matrix = (hidden if has_h0 else 0), (hidden if has_A0 else 0)
    new = weight_hh.new_empty
    return (
        new(*lead, batch, steps, hidden),
        new(weight_hh.shape),
        new(*lead, normed),
        new(*lead, normed),
        new(*lead, batch, initial),
        new(*lead, batch, matrix, matrix),
    )
