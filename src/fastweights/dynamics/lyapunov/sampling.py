"""Trying to refute a Lyapunov function, and the level at which it fails, for fields of any kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.optimize
import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.checks import check_finite
from fastweights.dynamics.maps import Field, evaluate
from fastweights.dynamics.verdicts import Finding, refuted, undecided
from fastweights.errors import UsageError

Function = Callable[[Tensor], Tensor]


class Level(NamedTuple):
    """The lowest level V(x) found at which V̇ ≥ 0, and the x, (N,), that attains it."""

    level: float
    point: Float[Tensor, " N"]


def orbital_derivative(V: Function, field: Field, states: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    """V̇(x) = ∇V(x) · F(x) at every state; UsageError where F or the gradient is not finite."""
    gradients: Tensor = torch.func.vmap(torch.func.grad(V))(states)
    check_finite("the gradient of V", gradients)
    return (gradients * evaluate("field", field, states)).sum(dim=1)


def falsify(V: Function, field: Field, states: Float[Tensor, "B N"]) -> Finding:
    """Look among `states` for one that shows V to be no strict Lyapunov function of the origin.

    REFUTED by the worst state x ≠ 0 with V(x) ≤ V(0) or V̇(x) ≥ 0; UNDECIDED otherwise, however many were tried. States
    a million times nearer to 0 than the farthest are left out: there V(x) − V(0) is lost in rounding.
    """
    claim = "V(x) > V(0) and V̇(x) < 0 for every x ≠ 0"
    check_finite("states", states)
    distances = states.norm(dim=1)
    tried = states[distances > 1e-6 * distances.max()] if len(states) else states
    if len(tried) == 0:
        raise UsageError("states must hold at least one state other than 0")
    values: Tensor = torch.func.vmap(V)(tried) - V(torch.zeros_like(tried[0]))
    check_finite("V", values)
    rates = orbital_derivative(V, field, tried)
    lowest, fastest = int(values.argmin()), int(rates.argmax())
    if values[lowest] <= 0:
        return refuted(claim, f"V(x) − V(0) is {float(values[lowest]):.6g} here", tuple(tried[lowest].tolist()))
    if rates[fastest] >= 0:
        return refuted(claim, f"V̇ is {float(rates[fastest]):.6g} here", tuple(tried[fastest].tolist()))
    return undecided(claim, f"none of {len(tried)} states refutes it")


def failing_level(V: Function, field: Field, starts: Float[Tensor, "B N"]) -> Level | None:
    """Minimise V over {V̇ = 0, x ≠ 0} from every start: no level above the minimum passes the direct method.

    An upper bound on what `region_of_attraction` can prove with this V; local minimisation (SLSQP), so the bound may
    not be the least. None if V̇ vanishes nowhere that was reached.
    """

    def value(x: np.ndarray) -> float:
        return float(V(torch.from_numpy(x)))

    def slope(x: np.ndarray) -> np.ndarray:
        gradient: Tensor = torch.func.grad(V)(torch.from_numpy(x))
        return gradient.numpy()

    def rate(x: np.ndarray) -> float:
        # Divided by ‖x‖²: otherwise the origin, where V̇ is 0 too, is where every descent ends.
        state = torch.from_numpy(x).unsqueeze(0)
        return float(orbital_derivative(V, field, state)[0] / state.square().sum())

    best: Level | None = None
    for start in starts.double().cpu():
        found = scipy.optimize.minimize(
            value, start.numpy(), jac=slope, method="SLSQP", constraints={"type": "ineq", "fun": rate}
        )
        if found.success and (best is None or found.fun < best.level):
            best = Level(float(found.fun), torch.from_numpy(found.x))
    return best
