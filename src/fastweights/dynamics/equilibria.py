"""Fixed points of maps and equilibria of fields: found from many starts at once, each reported once.

The residual r(x), F(x) − x for a map and F(x) for a field, is driven to zero by the Levenberg–Marquardt iteration
x ← x − (JᵀJ + μI)⁻¹ Jᵀr, which is Newton's in the limit μ → 0 and is defined where J is singular. Where it stops with
r ≠ 0 it has found a local minimum of ½‖r‖², a slow point (Sussillo & Barak 2013).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastweights.dynamics.maps import Field, Step, evaluate, jacobian
from fastweights.errors import UsageError


class Equilibria(NamedTuple):
    """Distinct solutions.

    `points` is (M, N); `counts`, (M,), says how many starts ended at each; `unconverged` starts ended at none.
    """

    points: Float[Tensor, "M N"]
    counts: Int[Tensor, " M"]
    unconverged: int


class SlowPoints(NamedTuple):
    """Distinct local minima of the speed ‖r‖, slowest first: `points` (M, N) and `speeds` (M,)."""

    points: Float[Tensor, "M N"]
    speeds: Float[Tensor, " M"]


def fixed_points(
    step: Step,
    starts: Float[Tensor, "B N"],
    *,
    iterations: int = 200,
    tolerance: float = 1e-10,
    separation: float = 1e-6,
) -> Equilibria:
    """Solutions of F(x) = x for a map, sought from every start.

    Args:
        step: F, one state to one state.
        starts: (B, N), float64.
        iterations: at most so many for each start.
        tolerance: a start has converged when ‖F(x) − x‖ is at most this.
        separation: solutions nearer than this count as one.

    Raises:
        UsageError: F is not finite at a start, the starts are not float64, or ∂F/∂x − I is singular at a solution:
            solutions are then not isolated (or only just), so that counting them has no meaning.
    """
    evaluate("step", step, starts)
    return _isolated_roots(_map_residual(step), starts, iterations, tolerance, separation)


def equilibria(
    field: Field,
    starts: Float[Tensor, "B N"],
    *,
    iterations: int = 200,
    tolerance: float = 1e-10,
    separation: float = 1e-6,
) -> Equilibria:
    """Solutions of F(x) = 0 for a field; arguments and errors as for `fixed_points`."""
    evaluate("field", field, starts)
    return _isolated_roots(field, starts, iterations, tolerance, separation)


def slow_points(
    step: Step, starts: Float[Tensor, "B N"], *, iterations: int = 200, separation: float = 1e-6
) -> SlowPoints:
    """Where the descent of ½‖F(x) − x‖² for a map ends: fixed points (speed 0), isolated or not, and slow points.

    Arguments as for `fixed_points`; a singular Jacobian is no error here.
    """
    evaluate("step", step, starts)
    points = _descend(_map_residual(step), starts, iterations, tolerance=0.0)
    speeds = _map_residual(step, batched=True)(points).norm(dim=1)
    order = speeds.argsort()
    chosen, _ = _distinct(points[order], separation)
    return SlowPoints(points[order][chosen], speeds[order][chosen])


def _map_residual(step: Step, *, batched: bool = False) -> Step:
    run = torch.func.vmap(step) if batched else step
    return lambda x: run(x) - x


def _isolated_roots(residual: Step, starts: Tensor, iterations: int, tolerance: float, separation: float) -> Equilibria:
    points = _descend(residual, starts, iterations, tolerance)
    errors = torch.func.vmap(residual)(points).norm(dim=1)
    roots = points[errors <= tolerance]
    _check_isolated(residual, roots, separation)
    roots = _polish(residual, roots)
    chosen, labels = _distinct(roots, separation)
    return Equilibria(roots[chosen], torch.bincount(labels, minlength=len(chosen)), len(starts) - len(roots))


def _descend(residual: Step, starts: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Levenberg–Marquardt from every start, μ adapted for each on its own."""
    if starts.dtype != torch.float64:
        raise UsageError(f"starts must be float64 (and so the function's constants), got {starts.dtype}; use .double()")
    x = starts
    batched = torch.func.vmap(residual)
    r = batched(x)
    damping = x.new_full((len(x),), 1e-2)
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        moving = (r.norm(dim=1) > tolerance) & (damping < 1e12)
        if not moving.any():
            break
        J = jacobian(residual, x[moving])
        μ = damping[moving]
        gradient = (J.mT @ r[moving].unsqueeze(-1)).squeeze(-1)
        move = torch.linalg.solve(J.mT @ J + μ[:, None, None] * identity, gradient)
        r_trial = batched(x[moving] - move)
        gained = r[moving].square().sum(dim=1) - r_trial.square().sum(dim=1)
        promised = (move * (μ[:, None] * move + gradient)).sum(dim=1)
        damping[moving] = torch.where(gained > promised / 4, μ / 10, μ * 10).clamp_min(1e-12)
        better = gained > 0
        accepted = moving.nonzero().squeeze(1)[better]
        x = x.index_copy(0, accepted, (x[moving] - move)[better])
        r = r.index_copy(0, accepted, r_trial[better])
    return x


def _check_isolated(residual: Step, roots: Tensor, separation: float) -> None:
    """Refuse roots whose place, known to ‖r‖/σ_min(J) at best, is less certain than the separation asked for."""
    if len(roots) == 0:
        return
    error = torch.func.vmap(residual)(roots).norm(dim=1)
    rounding = torch.finfo(roots.dtype).eps * (1 + roots.norm(dim=1))
    smallest = torch.linalg.svdvals(jacobian(residual, roots))[:, -1]
    singular = torch.maximum(error, rounding) >= smallest * separation
    if singular.any():
        raise UsageError(
            f"the solution {roots[singular][0].tolist()} is not known to within separation = {separation:g}: the "
            "Jacobian of the residual is singular there, so that solutions are not isolated and slow_points, which "
            f"accepts a continuum, is to be used, or tolerance is too large, or separation too small for {roots.dtype}"
        )


def _polish(residual: Step, roots: Tensor) -> Tensor:
    """One undamped Newton step, which takes an error within the tolerance down to rounding."""
    corrections = torch.linalg.solve(jacobian(residual, roots), torch.func.vmap(residual)(roots).unsqueeze(-1))
    polished: Tensor = roots - corrections.squeeze(-1)
    return polished


def _distinct(points: Tensor, separation: float) -> tuple[Tensor, Tensor]:
    """Indices of the first point of each group, and for every point the number of its group."""
    chosen: list[int] = []
    labels = torch.full((len(points),), -1, device=points.device)
    for i in range(len(points)):
        if labels[i] >= 0:
            continue
        near = (points - points[i]).norm(dim=1) <= separation
        labels[near & (labels < 0)] = len(chosen)
        chosen.append(i)
    return torch.tensor(chosen, dtype=torch.long), labels
