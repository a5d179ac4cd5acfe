"""The standard systems that theorems and exact numbers are known for, as plain functions of one state.

A factory takes the parameters and returns the map or field; a system without parameters is the function itself. The
number of state variables is three for Lorenz and Rössler, one for the logistic map, N for the networks, else two.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.checks import check_square
from fastweights.dynamics.maps import Field, Step


def lorenz(sigma: float = 10.0, rho: float = 28.0, beta: float = 8 / 3) -> Field:
    """Lorenz (1963). The divergence is −(σ + 1 + β) everywhere, so the exponents sum to −41/3 at the defaults."""

    def field(x: Tensor) -> Tensor:
        a, b, c = x
        return torch.stack((sigma * (b - a), a * (rho - c) - b, a * b - beta * c))

    return field


def rossler(a: float = 0.2, b: float = 0.2, c: float = 5.7) -> Field:
    """Rössler (1976)."""

    def field(x: Tensor) -> Tensor:
        u, v, w = x
        return torch.stack((-v - w, u + a * v, b + w * (u - c)))

    return field


def henon(a: float = 1.4, b: float = 0.3) -> Step:
    """Hénon (1976): |det J| = b everywhere, so the exponents sum to ln b."""

    def step(x: Tensor) -> Tensor:
        return torch.stack((1 - a * x[0] ** 2 + x[1], b * x[0]))

    return step


def logistic(rate: float = 4.0) -> Step:
    """x ← r x (1 − x) on [0, 1]; its exponent is ln 2 at r = 4."""

    def step(x: Tensor) -> Tensor:
        return rate * x * (1 - x)

    return step


def cat_map(x: Tensor) -> Tensor:
    """Arnold's cat map on the torus: exponents ± ln((3 + √5)/2)."""
    return torch.stack((2 * x[0] + x[1], x[0] + x[1])) % 1.0


def reversed_van_der_pol(x: Tensor) -> Tensor:
    """Van der Pol's oscillator (μ = 1) in reversed time: the origin is stable, its basin the inside of the cycle."""
    return torch.stack((-x[1], x[0] - x[1] * (1 - x[0] ** 2)))


def khalil(x: Tensor) -> Tensor:
    """Khalil (2002, exercise 4.8): x₁²/(1+x₁²) + x₂² falls along every trajectory, yet some escape to infinity."""
    squared = (1 + x[0] ** 2) ** 2
    return torch.stack((-6 * x[0] / squared + 2 * x[1], -2 * (x[0] + x[1]) / squared))


def vinograd(x: Tensor) -> Tensor:
    """Vinograd (1957): every trajectory converges to the origin, which is not stable."""
    u, v = x
    r2 = u**2 + v**2
    scale = r2 * (1 + r2**2)
    # The field is continuous with the value 0 at the origin, where the quotient is 0/0.
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    return torch.stack((u**2 * (v - u) + v**5, v**2 * (v - 2 * u))) / safe


def unit_circle(x: Tensor) -> Tensor:
    """ṙ = r (1 − r), θ̇ = sin²(θ/2): on r = 1, cot(θ/2) falls at the rate ½, so (1, 0) attracts but is not stable."""
    r = x.square().sum().sqrt()
    radial = x * (1 - r)
    # sin²(θ/2) = (1 − cos θ)/2, written without the cancellation at θ = 0 where x₁ > 0.
    turn = torch.where(x[0] > 0, x[1] ** 2 / (2 * r * (r + x[0].clamp_min(0))), (1 - x[0] / r) / 2)
    return radial + turn * torch.stack((-x[1], x[0]))


def cubic_centre(cubic: float) -> Field:
    """A rotation plus cubic·r²x: for every value the linearisation at 0 is [[0, −1], [1, 0]], and ṙ = cubic·r³."""

    def field(x: Tensor) -> Tensor:
        return torch.stack((-x[1], x[0])) + cubic * x.square().sum() * x

    return field


def markus_yamabe(t: float) -> Float[Tensor, "2 2"]:
    """Markus & Yamabe (1960): A(t) has the eigenvalues −¼ ± i√7/4 at all times, yet ẋ = A(t)x has a growing solution,
    e^{t/2} (−cos t, sin t)."""
    c, s = math.cos(t), math.sin(t)
    rows = [[-1 + 1.5 * c * c, 1 - 1.5 * s * c], [-1 - 1.5 * s * c, -1 + 1.5 * s * s]]
    return torch.tensor(rows, dtype=torch.float64)


def tanh_network(weight_hh: Float[Tensor, "N N"]) -> Step:
    """h ← tanh(W h). With W = 1.5·I it is the n-bit flip-flop of 3ⁿ fixed points."""
    check_square("weight_hh", weight_hh)
    return lambda h: torch.tanh(weight_hh @ h)


def relu_network(weight_hh: Float[Tensor, "N N"], bias: Float[Tensor, " N"]) -> Step:
    """h ← ReLU(W h + b)."""
    check_square("weight_hh", weight_hh)
    return lambda h: torch.relu(weight_hh @ h + bias)
