"""§5.1.1 Stability around an equilibrium state."""

from __future__ import annotations

import torch
from torch import Tensor

from fastweights import dynamics
from fastweights.claims import _pictures_dynamics as pictures
from fastweights.claims.base import Evidence, Verdict, below, claim, close, fact
from fastweights.dynamics import systems


def _at_origin(field: dynamics.maps.Field, size: int = 2) -> Tensor:
    """The Jacobian at 0."""
    return dynamics.jacobian(field, torch.zeros(1, size, dtype=torch.float64))[0]


def _distance_ratio(field: dynamics.maps.Field, start: tuple[float, ...], time: float) -> float:
    """‖x(t)‖/‖x(0)‖."""
    states = torch.tensor([start], dtype=torch.float64)
    path = dynamics.trajectory(dynamics.runge_kutta_4(field, 0.01), states, round(time / 0.01))
    return float(path[-1].norm() / states.norm())


@claim(
    "5.1.1/first-order",
    source="§5.1.1, dΔx/dt ≈ J_x F(x̄) Δx",
    printed="Near an equilibrium dΔx/dt = J Δx, up to higher orders of Δx.",
    verdict=Verdict.HOLDS,
)
def first_order() -> Evidence:
    field = systems.lorenz()
    J = _at_origin(field, 3)
    direction = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    errors = [float((field(s * direction) - J @ (s * direction)).norm()) for s in (1e-3, 5e-4)]
    by_hand = torch.tensor([[-10.0, 10, 0], [28, -1, 0], [0, 0, -8 / 3]], dtype=torch.float64)
    return Evidence(
        printed=(
            below("Lorenz's Jacobian at 0 against the one by hand", float((J - by_hand).abs().max()), 1e-12),
            close("error at Δx over error at Δx/2: second order", errors[0] / errors[1], 4.0, 0.01),
        )
    )


@claim(
    "5.1.1/invertible",
    source="§5.1.1, “If J_x F(x̄) is invertible …”",
    printed="If the Jacobian is invertible, its eigenvalues determine what becomes of Δx.",
    corrected="They do if the equilibrium is hyperbolic: no eigenvalue on the imaginary axis (maps: unit circle).",
    verdict=Verdict.HOLDS_CORRECTED,
    figure=pictures.draw_cubic_centre,
)
def invertible() -> Evidence:
    shrinking, growing = systems.cubic_centre(-1.0), systems.cubic_centre(1.0)
    J = _at_origin(growing)
    apart = float((J - _at_origin(shrinking)).abs().max())
    ratios = [_distance_ratio(field, (0.1, 0.0), 20.0) for field in (shrinking, growing)]
    forward = [[0.0, 1.0], [1.0, 0.0]], [[-1.0, 2.0], [-2.0, -1.0]], [[0.5, 0.0], [0.0, 2.0]]
    fates = []
    for rows in forward:
        A = torch.tensor(rows, dtype=torch.float64)

        def field(x: Tensor, A: Tensor = A) -> Tensor:
            return A @ x + x.square().sum() * x - x.square()

        linear = dynamics.linearise_field(_at_origin(field))
        returns = _distance_ratio(field, (1e-4, 2e-4), 5.0) < 1
        fates.append(linear.hyperbolic and (linear.stability == "asymptotically stable") == returns)
    return Evidence(
        printed=(
            fact(
                "rotation with −r²x, and with +r²x: the same fate",
                (ratios[0] < 1) == (ratios[1] < 1),
                f"‖x(20)‖/‖x(0)‖ = {ratios[0]:.4g} and {ratios[1]:.4g}",
            ),
        ),
        corrected=(
            below("… whose Jacobians differ at most by", apart, 0.0),
            close("… and have the determinant", float(torch.linalg.det(J)), 1.0, 1e-15),
            fact("… and are not hyperbolic: undecided", dynamics.linearise_field(J).kind == "undecided"),
            close("saddle, stable focus, unstable node: hyperbolic, and x(5) as the eigenvalues say", sum(fates), 3, 0),
        ),
    )


@claim(
    "5.1.1/frozen-eigenvalues",
    source="§5.1.1, eigenvalues that “determine the behavior”, of a system that depends on time",
    printed="If all eigenvalues of A(t) have negative real parts at every time, solutions of dx/dt = A(t) x decay.",
    verdict=Verdict.REFUTED,
    note="Markus and Yamabe (1960): e^{t/2} (−cos t, sin t) is a solution. The eigenvalues speak for autonomous "
    "systems only, to which §5.1 limits itself.",
    figure=pictures.draw_markus_yamabe,
)
def frozen_eigenvalues() -> Evidence:
    times = torch.linspace(0, 10, 2001, dtype=torch.float64)
    dt = float(times[1])
    matrices = torch.stack([systems.markus_yamabe(float(t) + dt / 2) for t in times[:-1]])
    largest = float(torch.linalg.eigvals(matrices).real.max())
    if largest >= 0:
        raise ArithmeticError(f"A(t) has an eigenvalue of real part {largest:.4g}: nothing is promised")
    x = torch.tensor([-1.0, 0.0], dtype=torch.float64)  # e^{t/2} (−cos t, sin t) at t = 0
    for propagator in torch.linalg.matrix_exp(dt * matrices):
        x = propagator @ x
    return Evidence(printed=(below(f"‖x(10)‖/‖x(0)‖, largest real part {largest:.4g}", float(x.norm()), 1.0),))
