"""Maps h ← F(h) and fields dx/dt = F(x): how they are run and linearised.

Every function of `fastweights.dynamics` takes F as a plain function of ONE state, (N,) → (N,), and states as a batch
(B, N); torch.func.vmap carries the one over to the other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.checks import check_real
from fastweights.errors import UsageError, check_count

Step = Callable[[Tensor], Tensor]
Field = Callable[[Tensor], Tensor]
DrivenStep = Callable[[Tensor, Tensor], Tensor]


def evaluate(name: str, function: Callable[[Tensor], Tensor], states: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """`function` at every state; UsageError if its values are not finite or not shaped like the states."""
    check_real("states", states)
    if states.dim() != 2 or 0 in states.shape:
        raise UsageError(f"states must be (B, N) with B, N ≥ 1, got shape {tuple(states.shape)}; add a batch dimension")
    values: Tensor = torch.func.vmap(function)(states)
    if values.shape != states.shape:
        raise UsageError(
            f"{name} must take one state ({states.shape[1]},) to one of the same shape, got {tuple(values.shape[1:])}"
        )
    broken = ~values.isfinite().all(dim=1)
    if broken.any():
        where = states[broken][0].tolist()
        raise UsageError(f"{name} is not finite at the state {where}; keep to states where it is defined")
    return values


def jacobian(function: Callable[[Tensor], Tensor], states: Float[Tensor, "B N"]) -> Float[Tensor, "B N N"]:
    """∂F_i/∂x_j at every state, by reverse-mode differentiation."""
    matrices: Tensor = torch.func.vmap(torch.func.jacrev(function))(states)
    return matrices


def runge_kutta_4(field: Field, dt: float) -> Step:
    """One step of the classical fourth-order Runge–Kutta method, as a map: local error O(dt⁵).

    Raises UsageError unless dt is finite and not 0 (a negative dt runs time backwards).
    """
    if not 0 < abs(dt) < float("inf"):
        raise UsageError(f"dt must be finite and not 0, got {dt!r}")

    def step(x: Tensor) -> Tensor:
        k1 = field(x)
        k2 = field(x + dt / 2 * k1)
        k3 = field(x + dt / 2 * k2)
        k4 = field(x + dt * k3)
        return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    return step


def trajectory(step: Step, states: Float[Tensor, "B N"], steps: int) -> Float[Tensor, "T B N"]:
    """The states and the `steps` that follow them, (steps + 1, B, N).

    Raises UsageError if the step is not finite at a start. A trajectory that blows up later is kept as it is, inf and
    NaN included: divergence is a result.
    """
    check_count("steps", steps, 1)
    path = [states, evaluate("step", step, states)]
    batched = torch.func.vmap(step)
    for _ in range(steps - 1):
        path.append(batched(path[-1]))
    return torch.stack(path)
