"""§5.1.2 Types of stability of equilibrium states."""

from __future__ import annotations

import math

import torch

from fastweights import dynamics
from fastweights.claims import _pictures_dynamics as pictures
from fastweights.claims.base import Evidence, Verdict, above, below, claim, close, fact
from fastweights.dynamics import Finding, systems
from fastweights.dynamics.maps import Field, Step
from fastweights.dynamics.verdicts import Verdict as Proof

_ORIGIN = torch.zeros(2, dtype=torch.float64)
_ON_CIRCLE = torch.tensor([1.0, 0.0], dtype=torch.float64)


def _stable(field: Field, equilibrium: torch.Tensor) -> Finding:
    return dynamics.uniformly_stable(
        dynamics.runge_kutta_4(field, 0.25), equilibrium, epsilon=0.5, deltas=(0.3, 0.1), steps=400, samples=32
    )


def _convergent(field: Field, equilibrium: torch.Tensor, dt: float) -> Finding:
    return dynamics.convergent(
        dynamics.runge_kutta_4(field, dt), equilibrium, delta=0.1, tolerance=0.05, steps=800, samples=32
    )


def _survives(finding: Finding) -> bool:
    return finding.verdict is not Proof.REFUTED


@claim(
    "5.1.2/all-times",
    source="§5.1.2, Definition 5.2",
    printed="Starts within δ with ‖x(t) − x̄‖ < ε, at the time t that is looked at, make x̄ uniformly stable.",
    corrected="… with ‖x(t) − x̄‖ < ε for all t ≥ 0.",
    verdict=Verdict.HOLDS_CORRECTED,
    note="The definition as printed does not say for which t.",
    figure=pictures.draw_convergent_not_stable,
)
def all_times() -> Evidence:
    angle, dt, steps, epsilon = 0.02, 0.5, 1_000, 0.02
    start = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    path = dynamics.trajectory(dynamics.runge_kutta_4(systems.unit_circle, dt), start, steps)
    distances = (path[:, 0] - _ON_CIRCLE).norm(dim=1)
    # cot(θ/2) falls at the rate ½, and the distance is 2 sin(θ/2).
    exact = 2 / math.hypot(1, 1 / math.tan(angle / 2) - dt * steps / 2)
    return Evidence(
        printed=(
            below(
                "θ̇ = sin²(θ/2) from θ = 0.02: largest distance from (1, 0) up to t = 500, ε = 0.02",
                float(distances.max()),
                epsilon,
            ),
        ),
        corrected=(
            below("… where it is within ε at t = 500, the time looked at", float(distances[-1]), epsilon),
            close("… as the closed form says", float(distances[-1]), exact, 1e-4 * exact),
            fact(
                "θ̇ = sin²(θ/2): not uniformly stable with “for all t”",
                not _survives(_stable(systems.unit_circle, _ON_CIRCLE)),
            ),
            fact(
                "the reversed Van der Pol oscillator's origin is not refuted",
                _survives(_stable(systems.reversed_van_der_pol, _ORIGIN)),
            ),
        ),
    )


@claim(
    "5.1.2/both-needed",
    source="§5.1.2, Definition 5.4",
    printed="Asymptotic stability takes both: an equilibrium can be convergent but not stable, and stable but not "
    "convergent.",
    verdict=Verdict.HOLDS,
    note="Vinograd's system (1957) is the classical example of the first in the plane.",
)
def both_needed() -> Evidence:
    rotation = systems.cubic_centre(0.0)
    return Evidence(
        printed=(
            fact("θ̇ = sin²(θ/2) is not uniformly stable", not _survives(_stable(systems.unit_circle, _ON_CIRCLE))),
            fact(
                "… and no start was found that does not converge",
                _survives(_convergent(systems.unit_circle, _ON_CIRCLE, 0.25)),
            ),
            fact("a rotation is not convergent", not _survives(_convergent(rotation, _ORIGIN, 0.05))),
            fact("… and no start was found that leaves ε", _survives(_stable(rotation, _ORIGIN))),
        )
    )


@claim(
    "5.1.2/single-equilibrium",
    source="§5.1.2, “Global asymptotic stability implies the system has only a single equilibrium state”",
    printed="A globally asymptotically stable system has only one equilibrium.",
    verdict=Verdict.HOLDS,
    note="Necessary, not sufficient: the Van der Pol oscillator has one equilibrium, which repels.",
)
def single_equilibrium() -> Evidence:
    starts = dynamics.grid((-2.0, -2.0), (2.0, 2.0), 9)
    eye = torch.eye(2, dtype=torch.float64)
    several, one = systems.tanh_network(1.5 * eye), systems.tanh_network(0.9 * eye)
    many, alone = (dynamics.fixed_points(step, starts).points for step in (several, one))

    def van_der_pol(x: torch.Tensor) -> torch.Tensor:
        return -systems.reversed_van_der_pol(x)

    def globally(step: Step, equilibrium: torch.Tensor) -> bool:
        return _survives(
            dynamics.globally_asymptotically_stable(
                step, equilibrium, epsilon=0.5, deltas=(0.1, 0.03), radius=2.0, tolerance=1e-3, steps=300
            )
        )

    repelling = dynamics.equilibria(van_der_pol, starts).points
    return Evidence(
        printed=(
            close("fixed points of h ← tanh(1.5 h), N = 2: (2 + 1)²", len(many), 9, 0),
            close("… of which global stability is refuted", sum(not globally(several, point) for point in many), 9, 0),
            close("fixed points of h ← tanh(0.9 h), N = 2", len(alone), 1, 0),
            fact("… and 0 is not refuted", globally(one, _ORIGIN)),
            close("equilibria of the Van der Pol oscillator", len(repelling), 1, 0),
            fact("… which is refuted all the same", not globally(dynamics.runge_kutta_4(van_der_pol, 0.05), _ORIGIN)),
        )
    )


@claim(
    "5.1.2/neighbourhood",
    source="§5.1.2, first paragraph",
    printed="The linearisation does not say whether a trajectory ever comes near the equilibrium.",
    verdict=Verdict.HOLDS,
    figure=pictures.draw_basin,
)
def neighbourhood() -> Evidence:
    field = systems.reversed_van_der_pol
    linear = dynamics.linearise_field(dynamics.jacobian(field, _ORIGIN.unsqueeze(0))[0])
    starts = torch.tensor([[1.0, 0.0], [2.5, 0.0]], dtype=torch.float64)
    path = dynamics.trajectory(dynamics.runge_kutta_4(field, 0.01), starts, 3_000)
    distances = path.norm(dim=2).nan_to_num(nan=torch.inf)
    return Evidence(
        printed=(
            fact(f"reversed Van der Pol: {linear.kind} at 0", linear.kind == "stable focus"),
            below("from (1, 0): ‖x(30)‖", float(distances[-1, 0]), 1e-3),
            above("from (2.5, 0): smallest ‖x(t)‖, t ≤ 30", float(distances[:, 1].min()), 1.0),
            above("… and the largest", float(distances[:, 1].max()), 1e3),
        )
    )
