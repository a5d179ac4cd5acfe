"""Lyapunov spectra: how fast nearby trajectories of a map separate, direction by direction (Benettin et al. 1980).

Tangent vectors Q are carried along by the Jacobians and re-orthonormalised, J Q = Q′R; the exponents are the time means
of ln |R_ii|. Whatever the system, Σλ = mean ln |det J|, which no choice of Q enters: where all N exponents are asked
for, that sum rule is checked before anything is returned. A field is treated through its `runge_kutta_4` map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.maps import DrivenStep, Step, evaluate
from fastweights.errors import UsageError, check_count

BLOCKS = 10


class LyapunovSpectrum(NamedTuple):
    """Exponents per unit of time, (B, k), in the order of the orthonormal frame: largest first once the run is long.

    They are not sorted, for close ones change places in a short run, and the mean of sorted estimates is biased.
    `standard_error`, (B, k), is that of the mean over ten successive blocks of the run: good once a block is longer
    than the system's memory. `sum_rule_gap` is the largest |Σλ − mean ln |det J|| of the batch, None if k < N, where
    there is no such rule. `states`, (B, N), is where the run ended.
    """

    exponents: Float[Tensor, "B k"]
    standard_error: Float[Tensor, "B k"]
    sum_rule_gap: float | None
    states: Float[Tensor, "B N"]


def lyapunov_spectrum(
    step: Step,
    states: Float[Tensor, "B N"],
    steps: int,
    *,
    count: int | None = None,
    warmup: int = 0,
    qr_every: int = 1,
    dt: float = 1.0,
) -> LyapunovSpectrum:
    """The largest `count` exponents of a map along each trajectory.

    Args:
        step: the map, differentiable, one state to one state.
        states: starts, (B, N).
        steps: how many steps are averaged over, at least ten times `qr_every`.
        count: k in 1..N; None is N. For k < N only k Jacobian-vector products a step are taken, never the matrix.
        warmup: steps before those, in which state and tangents settle.
        qr_every: steps between two orthonormalisations. The tangents lose one digit for every factor of ten between
            the largest and the smallest stretching in between.
        dt: time of one step; the exponents are divided by it.

    Raises:
        UsageError: an argument outside the above; a state that leaves the finite numbers; a singular Jacobian, whose
            exponent is −∞; a sum rule that fails, for which `qr_every` is too large.
    """
    check_count("steps", steps, 1)
    check_count("warmup", warmup, 0)
    if not 0 < dt < math.inf:
        raise UsageError(f"dt must be positive and finite, got {dt!r}")
    evaluate("step", step, states)
    return _spectrum([step] * (warmup + steps), states, count, warmup, qr_every, dt)


def driven_lyapunov_spectrum(
    step: DrivenStep,
    states: Float[Tensor, "B N"],
    inputs: Float[Tensor, "T ..."],
    *,
    count: int | None = None,
    warmup: int = 0,
    qr_every: int = 1,
) -> LyapunovSpectrum:
    """The exponents of h ← F(h, x_t) along the trajectories that the inputs x_1 … x_T drive.

    All starts are driven by the same inputs; the first `warmup` of them are not averaged over. A largest exponent below
    zero means that the starts forget themselves (echo state property). Otherwise as `lyapunov_spectrum`.
    """
    if len(inputs) <= warmup:
        raise UsageError(f"inputs must hold more steps than warmup = {warmup}, got {len(inputs)}")
    maps = [_driven_by(step, x) for x in inputs]
    evaluate("step", maps[0], states)
    return _spectrum(maps, states, count, warmup, qr_every, dt=1.0)


def _driven_by(step: DrivenStep, x: Tensor) -> Step:
    return lambda h: step(h, x)


def _spectrum(
    maps: Sequence[Step], states: Tensor, count: int | None, warmup: int, qr_every: int, dt: float
) -> LyapunovSpectrum:
    size = states.shape[1]
    k = size if count is None else count
    _check_sizes(size, k, len(maps) - warmup, warmup, qr_every)
    x, Q = states, _random_frames(states, k)
    stretches, volumes = [], []
    for start in range(0, len(maps), qr_every):
        x, Q, stretch, volume = _segment(maps[start : start + qr_every], x, Q)
        if start >= warmup:
            stretches.append(stretch)
            volumes.append(volume)
    rates = torch.stack(stretches) / (qr_every * dt)
    _check_rates(x, rates)
    exponents = rates.mean(dim=0)
    gap = None
    if k == size:
        gap = float((exponents.sum(dim=1) - torch.stack(volumes).mean(dim=0) / (qr_every * dt)).abs().max())
        _check_sum_rule(gap * dt, size * torch.finfo(x.dtype).eps ** 0.5, qr_every)
    return LyapunovSpectrum(exponents, _standard_error(rates), gap, x)


def _segment(maps: Sequence[Step], x: Tensor, Q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Carry states and tangents along, then orthonormalise: ln |R_ii|, (B, k), and Σ ln |det J|, (B,), if k = N."""
    volume = x.new_zeros(len(x))
    identity = torch.eye(Q.shape[1]).to(Q).repeat(len(x), 1, 1)
    for step in maps:
        if Q.shape[1] == Q.shape[2]:
            x, J = torch.func.vmap(_push, in_dims=(None, 0, 0))(step, x, identity)
            volume = volume + torch.linalg.slogdet(J).logabsdet
            Q = J @ Q
        else:
            x, Q = torch.func.vmap(_push, in_dims=(None, 0, 0))(step, x, Q)
    Q, R = torch.linalg.qr(Q)
    return x, Q, R.diagonal(dim1=1, dim2=2).abs().log(), volume


def _push(step: Step, x: Tensor, Q: Tensor) -> tuple[Tensor, Tensor]:
    """F(x) and J Q at one state, column by column."""
    pushed: Tensor = torch.func.vmap(lambda q: torch.func.jvp(step, (x,), (q,))[1], in_dims=1, out_dims=1)(Q)
    value: Tensor = step(x)
    return value, pushed


def _random_frames(states: Tensor, k: int) -> Tensor:
    """An orthonormal frame of k tangent vectors for every state, (B, N, k), always the same ones."""
    frames = torch.randn(*states.shape, k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    Q: Tensor = torch.linalg.qr(frames.to(states)).Q
    return Q


def _standard_error(rates: Tensor) -> Tensor:
    blocks: Sequence[Tensor] = rates.tensor_split(BLOCKS)
    means = torch.stack([block.mean(dim=0) for block in blocks])
    return means.std(dim=0) / math.sqrt(BLOCKS)


def _check_sizes(size: int, k: int, steps: int, warmup: int, qr_every: int) -> None:
    if not 1 <= k <= size:
        raise UsageError(f"count must be in 1..{size}, got {k!r}")
    if qr_every < 1 or steps % qr_every or warmup % qr_every:
        raise UsageError(f"qr_every must divide steps = {steps} and warmup = {warmup}, got {qr_every!r}")
    if steps < BLOCKS * qr_every:
        raise UsageError(f"steps must be at least {BLOCKS * qr_every} to estimate the error from, got {steps}")


def _check_rates(states: Tensor, rates: Tensor) -> None:
    if not states.isfinite().all():
        raise UsageError("states must start where the trajectory stays finite; one of them diverged")
    if not rates.isfinite().all():
        raise UsageError(
            "step has a singular Jacobian along the trajectory, which makes exponents −∞ (dead ReLU units do): "
            "ask for fewer with count"
        )


def _check_sum_rule(gap: float, tolerance: float, qr_every: int) -> None:
    """The rule holds to rounding if every orthonormalisation came in time, and is off by whole units if not."""
    if not gap <= tolerance:
        raise UsageError(
            f"qr_every = {qr_every} is too large: Σλ misses mean ln |det J| by {gap:.3g} a step, "
            "so the smallest exponents are wrong; orthonormalise more often"
        )
