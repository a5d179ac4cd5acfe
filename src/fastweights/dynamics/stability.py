"""The definitions of stability as properties that trajectories can refute.

With the words "for all t ≥ 0" that belong into them, an equilibrium x̄ is

    uniformly stable       for every ε there is a δ: ‖x(0) − x̄‖ < δ ⇒ ‖x(t) − x̄‖ < ε for all t ≥ 0
    convergent             there is a δ: ‖x(0) − x̄‖ < δ ⇒ x(t) → x̄
    asymptotically stable  both of these
    globally so            uniformly stable, and x(t) → x̄ from everywhere

(Haykin 2009, p. 681). No definition implies another except as the list says; `fastweights.dynamics.systems` holds
systems that separate them. Trajectories never prove a definition: the verdict is REFUTED or UNDECIDED. A refutation is
as good as what was tried (the δ offered, the time run), which its reason states; proofs are in `dynamics.lyapunov`.
A field is checked through its `runge_kutta_4` map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.maps import Step, evaluate, trajectory
from fastweights.dynamics.verdicts import Finding, Verdict, refuted, undecided
from fastweights.errors import UsageError, check_count

# A cycle that a Runge–Kutta step shrinks by less than this fraction, from one quarter of a run to the next, is one.
DISCRETISATION = 1e-5


def uniformly_stable(
    step: Step,
    equilibrium: Float[Tensor, " N"],
    *,
    epsilon: float,
    deltas: Sequence[float],
    steps: int,
    samples: int = 64,
    seed: int = 0,
) -> Finding:
    """Whether some δ of `deltas` keeps `samples` starts within ε of the equilibrium for `steps` steps.

    REFUTED if every δ fails; the point is the start, within the smallest δ, that went farthest.
    """
    claim = f"uniformly stable: for ε = {epsilon:g} a δ exists"
    _check_equilibrium(step, equilibrium)
    _check_radius("epsilon", epsilon)
    _check_deltas(deltas)
    for delta in sorted(deltas, reverse=True):
        starts = ball(equilibrium, delta, samples, seed)
        farthest = _distances(step, equilibrium, starts, steps).amax(dim=0)
        if (farthest < epsilon).all():
            return undecided(claim, f"none of {samples} starts within δ = {delta:g} left ε in {steps} steps")
    worst = int(farthest.argmax())
    reason = f"every δ of {tuple(deltas)} has a start that leaves ε; this one goes {float(farthest[worst]):.4g} away"
    return refuted(claim, reason, tuple(starts[worst].tolist()))


def convergent(
    step: Step,
    equilibrium: Float[Tensor, " N"],
    *,
    delta: float,
    tolerance: float,
    steps: int,
    escape: float = 1e6,
    samples: int = 64,
    seed: int = 0,
) -> Finding:
    """Whether `samples` starts within δ tend to the equilibrium.

    REFUTED by a start that gets farther away than `escape`, or that has settled elsewhere: farther away than
    `tolerance`, and between the same two distances (to 1 %) in the third and the last quarter of the run, as on another
    equilibrium or a cycle. A start that is merely slow to come back, its distance falling by more than 1e-5 of itself
    between the two, leaves the claim UNDECIDED. Raises UsageError for fewer than four steps.
    """
    claim = f"convergent: x(t) → x̄ from within δ = {delta:g}"
    _check_equilibrium(step, equilibrium)
    _check_radius("delta", delta)
    check_count("steps", steps, 4)
    starts = ball(equilibrium, delta, samples, seed)
    distances = _distances(step, equilibrium, starts, steps)
    third, last = distances[steps // 2 : 3 * steps // 4], distances[3 * steps // 4 :]
    nearest, farthest = last.amin(dim=0), last.amax(dim=0)
    fallen_by = torch.stack((third.amin(dim=0) - nearest, third.amax(dim=0) - farthest))
    same = (fallen_by.abs() <= 0.01 * farthest).all(dim=0) & ~(fallen_by > DISCRETISATION * farthest).all(dim=0)
    for elsewhere, reason in (
        (distances.amax(dim=0) > escape, f"farther away than {escape:g} within {steps} steps"),
        (same & (nearest > tolerance), f"settled at a distance from {{:.4g}} to {{:.4g}} in {steps} steps"),
    ):
        if elsewhere.any():
            i = int(elsewhere.nonzero()[0])
            return refuted(claim, reason.format(float(nearest[i]), float(farthest[i])), tuple(starts[i].tolist()))
    arrived = int((farthest <= tolerance).sum())
    return undecided(claim, f"{arrived} of {samples} starts are within {tolerance:g} at the end of {steps} steps")


def asymptotically_stable(
    step: Step,
    equilibrium: Float[Tensor, " N"],
    *,
    epsilon: float,
    deltas: Sequence[float],
    tolerance: float,
    steps: int,
    samples: int = 64,
    seed: int = 0,
) -> Finding:
    """Uniformly stable, and convergent from within the smallest δ: REFUTED as soon as one of the two is."""
    _check_deltas(deltas)
    return globally_asymptotically_stable(
        step,
        equilibrium,
        epsilon=epsilon,
        deltas=deltas,
        radius=min(deltas),
        tolerance=tolerance,
        steps=steps,
        samples=samples,
        seed=seed,
    )


def globally_asymptotically_stable(
    step: Step,
    equilibrium: Float[Tensor, " N"],
    *,
    epsilon: float,
    deltas: Sequence[float],
    radius: float,
    tolerance: float,
    steps: int,
    samples: int = 64,
    seed: int = 0,
) -> Finding:
    """Uniformly stable, and convergent from within `radius`, the "everywhere" that is tried."""
    stable = uniformly_stable(
        step, equilibrium, epsilon=epsilon, deltas=deltas, steps=steps, samples=samples, seed=seed
    )
    if stable.verdict is Verdict.REFUTED:
        return stable
    return convergent(step, equilibrium, delta=radius, tolerance=tolerance, steps=steps, samples=samples, seed=seed)


def ball(centre: Float[Tensor, " N"], radius: float, samples: int, seed: int) -> Float[Tensor, "B N"]:
    """Points drawn uniformly from the ball around `centre`; `samples` ≥ 1."""
    check_count("samples", samples, 1)
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(samples, len(centre), generator=generator, dtype=torch.float64)
    radii = radius * torch.rand(samples, 1, generator=generator, dtype=torch.float64) ** (1 / len(centre))
    offsets: Tensor = radii * directions / directions.norm(dim=1, keepdim=True)
    return centre + offsets.to(centre)


def _distances(step: Step, equilibrium: Tensor, starts: Tensor, steps: int) -> Tensor:
    """Distance from the equilibrium at every time, (T, B); a trajectory that blew up is infinitely far."""
    distances: Tensor = (trajectory(step, starts, steps) - equilibrium).norm(dim=2)
    return distances.nan_to_num(nan=torch.inf)


def _check_equilibrium(step: Step, equilibrium: Tensor) -> None:
    moved = float((evaluate("step", step, equilibrium.unsqueeze(0)) - equilibrium).norm())
    if moved > 1e-6:
        raise UsageError(f"equilibrium must be a fixed point of step, but step moves it by {moved:.3g}")


def _check_deltas(deltas: Sequence[float]) -> None:
    if not deltas:
        raise UsageError("deltas must hold at least one δ, got none")
    for delta in deltas:
        _check_radius("deltas", delta)


def _check_radius(name: str, radius: float) -> None:
    if not 0 < radius < float("inf"):
        raise UsageError(f"{name} must be positive and finite, got {radius!r}")
