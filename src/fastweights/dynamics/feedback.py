"""The single-loop feedback system y(n) = w [x(n) + y(n−1)] (Haykin 2009, pp. 18–21), with rest before n = 0.

Its operator w/(1 − w z⁻¹) expands to Σ_l w^{l+1} z^{−l} for |z| > |w|; for every w, in or out of the circle,

    y(n) = Σ_{l=0..n} w^{l+1} x(n−l) + w^{n+1} y(−1).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError

Regime = Literal[
    "no feedback",
    "decay",
    "alternating decay",
    "linear trend",
    "2-cycle",
    "exponential growth",
    "alternating exponential growth",
]


class Moments(NamedTuple):
    """Mean and variance of y(n) over draws of the input noise."""

    mean: float
    variance: float


def simulate(
    weight: Float[Tensor, " B"], inputs: Float[Tensor, "B T"], before: Float[Tensor, " B"] | None = None
) -> Float[Tensor, "B T"]:
    """y(0) … y(T−1) of one loop for each row: its weight w, its input x(0) … x(T−1) and its y(−1), 0 if not given."""
    if inputs.dim() != 2 or inputs.shape[1] == 0 or weight.shape != inputs.shape[:1]:
        raise UsageError(
            f"inputs must be (B, T) and weight (B,), T ≥ 1, got {tuple(inputs.shape)} and {tuple(weight.shape)}; "
            "use weight.expand(B) for one weight"
        )
    y = torch.zeros_like(weight) if before is None else before
    outputs = []
    for x in inputs.unbind(dim=1):
        y = weight * (x + y)
        outputs.append(y)
    return torch.stack(outputs, dim=1)


def regime(weight: float) -> Regime:
    """What becomes of an input: |w| < 1 forgets it, |w| = 1 keeps it, |w| > 1 amplifies it; w < 0 alternates."""
    _check_weight(weight)
    if weight == 0:
        return "no feedback"
    if abs(weight) == 1:
        return "linear trend" if weight > 0 else "2-cycle"
    if abs(weight) < 1:
        return "decay" if weight > 0 else "alternating decay"
    return "exponential growth" if weight > 0 else "alternating exponential growth"


def impulse_response(weight: float, n: int) -> float:
    """w^{n+1}: what is left at time n of x(0) = 1."""
    _check_weight(weight)
    _check_time(n)
    return _power(weight, n + 1)


def step_response(weight: float, n: int) -> float:
    """y(n) for x = 1 from n = 0 on: w (1 − w^{n+1})/(1 − w), and n + 1 at w = 1."""
    _check_weight(weight)
    _check_time(n)
    return float(n + 1) if weight == 1 else weight * ((1 - _power(weight, n + 1)) / (1 - weight))


def noise_response(weight: float, mean: float, variance: float, n: int) -> Moments:
    """Moments of y(n) for independent inputs x(0) … x(n) of the given mean μ and variance σ².

    E y(n) = μ · step_response(w, n) and Var y(n) = σ² w² (1 − w^{2(n+1)})/(1 − w²), which is σ² (n+1) at w = ±1.
    """
    _check_variance(variance)
    response = step_response(weight, n)
    gain = _power(weight, 2)
    scale = step_response(gain, n) if math.isfinite(gain) else math.inf
    # Nothing stays nothing, also where the loop grows beyond what floats hold.
    return Moments(mean * response if mean else 0.0, variance * scale if variance else 0.0)


def stationary_response(weight: float, mean: float, variance: float) -> Moments:
    """The limits of `noise_response` for n → ∞: μ w/(1 − w) and σ² w²/(1 − w²).

    Raises UsageError unless |w| < 1: otherwise the variance has no limit.
    """
    _check_weight(weight)
    _check_variance(variance)
    if abs(weight) >= 1:
        raise UsageError(f"weight must lie inside (−1, 1) for a stationary response, got {weight!r}")
    return Moments(mean * weight / (1 - weight), variance * weight**2 / (1 - weight**2))


def _power(base: float, exponent: int) -> float:
    """base^exponent, ±∞ where Python would raise OverflowError."""
    try:
        return float(base) ** exponent
    except OverflowError:
        return math.inf if base > 0 or exponent % 2 == 0 else -math.inf


def _check_weight(weight: float) -> None:
    if not math.isfinite(weight):
        raise UsageError(f"weight must be finite, got {weight!r}")


def _check_time(n: int) -> None:
    if n < 0:
        raise UsageError(f"n must be at least 0, got {n!r}")


def _check_variance(variance: float) -> None:
    if not 0 <= variance < math.inf:
        raise UsageError(f"variance must be finite and at least 0, got {variance!r}")
