"""§3 Preliminary plan."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastweights import kernels
from fastweights.claims._recurrences import irnn_step, random_weights
from fastweights.claims.base import Evidence, Verdict, above, below, claim, close
from fastweights.dynamics import decay_exponent, log_jacobian_product_norms, spectral_radius
from fastweights.types import RNNState

_LAGS, _SETTLED = 600, 200
# If the norms stay within a factor 2 of their trend, a line fitted through K of their logarithms is off by 1.5 ln 2/K.
_SLOPE_TOLERANCE = 1.5 * math.log(2) / (_LAGS - _SETTLED)


@claim(
    "3/unrolled-recurrence",
    source="§3, second equation",
    printed="h_t = g(W x_t + U g(… g(W x_{t−T} + U h_{t−T} + b) …) + b).",
    corrected="The innermost step pairs x_{t−T} with h_{t−T−1}: g(W x_{t−T} + U h_{t−T−1} + b) = h_{t−T}.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def unrolled_recurrence() -> Evidence:
    draw = torch.Generator().manual_seed(5)
    U = random_weights(20, 0.9, draw)
    z = torch.randn(1, 12, 20, dtype=torch.float64, generator=draw)  # W x_1 + b … W x_12 + b
    hidden = kernels.irnn(z, U, backend="reference")[0]
    t, T = 12, 4

    def error(innermost: int) -> float:
        """‖nested formula started from h_innermost and fed x_{t−T} … x_t, less h_t‖."""
        start = RNNState(hidden[:, innermost - 1])
        nested = kernels.irnn(z[:, t - T - 1 :], U, state=start, backend="reference")[0][:, -1]
        return float((nested - hidden[:, t - 1]).norm())

    return Evidence(
        printed=(below("‖nested formula − h_t‖ from h_{t−T}, T = 4, ReLU", error(t - T), 1e-12),),
        corrected=(below("‖nested formula − h_t‖ from h_{t−T−1}", error(t - T - 1), 1e-12),),
    )


@claim(
    "3/no-long-term-memory",
    source="§3, “because of the T nested multiplications of h_{t−T} by U”",
    printed="T nested multiplications by U make the effect of h_{t−T} on h_t negligible.",
    corrected="The effect is the product of T Jacobians. In a linear or settled network it goes as ρ(U)^T: negligible "
    "for ρ(U) < 1, whatever ‖U‖₂, kept for U = I with ReLU, explosive for ρ(U) > 1.",
    verdict=Verdict.HOLDS_CORRECTED,
    note="U = I with ReLU is the IRNN of Le, Jaitly & Hinton (2015).",
)
def no_long_term_memory() -> Evidence:
    draw = torch.Generator().manual_seed(6)
    fading = random_weights(50, math.exp(-0.109), draw)
    # With entries above 0 every sum is positive: ReLU passes all of them, and ρ(U) is a simple eigenvalue (Perron).
    growing = random_weights(50, 1.0, draw).abs()
    growing = growing * (math.exp(0.109) / spectral_radius(growing))
    input = torch.rand(1, _LAGS, 50, dtype=torch.float64, generator=draw)
    quiet = log_jacobian_product_norms(lambda h, z: torch.tanh(fading @ h + z), input[:, 0], 0 * input)[:, 0]
    kept, grown = (
        log_jacobian_product_norms(irnn_step(U), input[:, 0], input)[:, 0]
        for U in (torch.eye(50, dtype=torch.float64), growing)
    )

    def slope(log_norms: Tensor) -> float:
        return decay_exponent(log_norms, first_lag=_SETTLED).slope

    negligible = math.log(1e-6)
    return Evidence(
        printed=(
            below("ln ‖∂h_t/∂h_{t−600}‖₂, ReLU, U = I, positive inputs", kept[-1].item(), negligible),
            below("ln ‖∂h_t/∂h_{t−600}‖₂, ReLU, U > 0, ρ(U) = e^0.109", grown[-1].item(), negligible),
        ),
        corrected=(
            close("log slope against lag, tanh, ρ(U) = e^−0.109", slope(quiet), -0.109, _SLOPE_TOLERANCE),
            above("‖U‖₂ of that network", torch.linalg.matrix_norm(fading, 2).item(), 1.0),
            below("ln ‖∂h_t/∂h_{t−600}‖₂ of that network", quiet[-1].item(), negligible),
            close("max |ln ‖∂h_t/∂h_{t−k}‖₂|, k ≤ 600, U = I", kept.abs().max().item(), 0.0, 1e-12),
            close("log slope against lag, ReLU, U > 0, ρ(U) = e^0.109", slope(grown), 0.109, _SLOPE_TOLERANCE),
        ),
    )
