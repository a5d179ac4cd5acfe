"""§4.1 A simple example of an associative memory model."""

from __future__ import annotations

import sympy
import torch

from fastweights.claims.base import Evidence, Verdict, below, claim, fact
from fastweights.memories import CorrelationMemory


@claim(
    "4.1/one-pair",
    source="§4.1, g′ = A f",
    printed="A matrix A = η g fᵀ that stores one pair recalls g′ = A f ∝ g.",
    verdict=Verdict.HOLDS,
)
def one_pair() -> Evidence:
    f, g = sympy.Matrix(sympy.symbols("f1:4")), sympy.Matrix(sympy.symbols("g1:3"))
    learning_rate = sympy.Symbol("eta")
    recalled = learning_rate * g * f.T * f
    difference = sympy.simplify(recalled - learning_rate * f.dot(f) * g)
    return Evidence(printed=(fact("η g fᵀ f = η ‖f‖² g, symbolically", difference.is_zero_matrix),))


@claim(
    "4.1/orthogonal-keys",
    source="§4.1, A f_j = g_j",
    printed="With orthogonal keys f_i and A = Σ g_i f_iᵀ, recall is perfect: A f_j = g_j for all j.",
    corrected="With orthogonal keys, A f_j = ‖f_j‖² g_j; with orthonormal keys, A f_j = g_j.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def orthogonal_keys() -> Evidence:
    draw = torch.Generator().manual_seed(0)
    orthonormal = torch.linalg.qr(torch.randn(64, 20, dtype=torch.float64, generator=draw))[0].T
    values = torch.randn(20, 8, dtype=torch.float64, generator=draw)
    norms = torch.linspace(0.5, 2.0, 20, dtype=torch.float64).unsqueeze(1)

    def error(keys: torch.Tensor, expected: torch.Tensor) -> float:
        return (CorrelationMemory().store(keys, values).recall(keys) - expected).abs().max().item()

    return Evidence(
        printed=(
            below("max |A f_j − g_j|, 20 orthogonal keys of norms ½ … 2", error(norms * orthonormal, values), 1e-12),
        ),
        corrected=(
            below("max |A f_j − ‖f_j‖² g_j|, the same keys", error(norms * orthonormal, norms**2 * values), 1e-12),
            below("max |A f_j − g_j|, 20 orthonormal keys", error(orthonormal, values), 1e-12),
        ),
    )
