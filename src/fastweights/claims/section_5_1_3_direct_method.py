"""§5.1.3 Theorems regarding stability: those that the section announces, and the controllability of its title."""

from __future__ import annotations

import math

import numpy as np
import scipy.integrate
import torch
from torch import Tensor

from fastweights import dynamics
from fastweights.claims.base import Evidence, Verdict, above, below, claim, close, fact
from fastweights.dynamics import lyapunov, systems
from fastweights.dynamics.verdicts import Verdict as Proof


def _khalil_function(x: Tensor) -> Tensor:
    return x[0] ** 2 / (1 + x[0] ** 2) + x[1] ** 2


def _quadratic(x: Tensor) -> Tensor:
    """xᵀPx, P = [[1.5, −0.5], [−0.5, 1]], which solves JᵀP + PJ = −I for the reversed Van der Pol oscillator."""
    return 1.5 * x[0] ** 2 - x[0] * x[1] + x[1] ** 2


def _bowl(x: Tensor) -> Tensor:
    return x.square().sum()


def _damped(x: Tensor) -> Tensor:
    """V = ‖x‖² falls along it at the rate −2 (‖x‖² + x₂⁴)."""
    return torch.stack((-x[0] + x[1], -x[0] - x[1] - x[1] ** 3))


def _circle(points: int) -> Tensor:
    angles = 2 * torch.pi / points * torch.arange(points, dtype=torch.float64)
    return torch.stack((angles.cos(), angles.sin()), dim=1)


def _farthest_end(field: dynamics.maps.Field, starts: Tensor, dt: float, time: float) -> float:
    """The largest ‖x(time)‖."""
    path = dynamics.trajectory(dynamics.runge_kutta_4(field, dt), starts, round(time / dt))
    return float(path[-1].norm(dim=1).max())


def _adaptive(field: dynamics.maps.Field, start: tuple[float, ...], time: float) -> Tensor:
    """x(t) by an adaptive method of order 8, for long times."""

    def rate(_: float, x: np.ndarray) -> np.ndarray:
        return field(torch.from_numpy(x)).numpy()

    solution = scipy.integrate.solve_ivp(rate, (0, time), start, method="DOP853", rtol=1e-9, atol=1e-12)
    return torch.from_numpy(solution.y[:, -1])


@claim(
    "5.1.3/direct-method",
    source="§5.1.3, “if we can find a certain function of the state variable …”",
    printed="A positive definite V that falls along every trajectory shows stability, without solving the equations.",
    verdict=Verdict.HOLDS,
    note="Stated in full: V(0) = 0, V > 0 elsewhere, V̇ ≤ 0 near 0: stable; V̇ < 0: asymptotically stable.",
)
def direct_method() -> Evidence:
    draw = torch.Generator().manual_seed(513)
    proved = refuted = right = 0
    for _ in range(20):
        A = torch.randn(3, 3, dtype=torch.float64, generator=draw) - 0.8 * torch.eye(3, dtype=torch.float64)
        finding = lyapunov.linear_field(A)
        truth = bool((torch.linalg.eigvals(A).real < 0).all())
        proved += finding.verdict is Proof.PROVED
        refuted += finding.verdict is Proof.REFUTED
        right += finding.verdict is (Proof.PROVED if truth else Proof.REFUTED)
    return Evidence(
        printed=(
            close("of 20 random linear systems, those judged as their eigenvalues say", right, 20, 0),
            above("proved, with a V rechecked in fractions", proved, 3),
            above("refuted, with the state that shows it", refuted, 3),
        )
    )


@claim(
    "5.1.3/radially-unbounded",
    source="§5.1.3, the theorem for Definition 5.5 (global asymptotic stability)",
    printed="V > 0 and V̇ < 0 everywhere but at 0 make 0 globally asymptotically stable.",
    corrected="… if V is radially unbounded besides: V → ∞ as ‖x‖ → ∞.",
    verdict=Verdict.HOLDS_CORRECTED,
    note="Khalil (2002), exercise 4.8: V = x₁²/(1 + x₁²) + x₂².",
)
def radially_unbounded() -> Evidence:
    states = 20 * torch.randn(4_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    escaped = _adaptive(systems.khalil, (4.0, 1.0), 2_000.0)
    inside = torch.tensor([[0.5, 0.5], [-0.7, 0.3]], dtype=torch.float64)
    far = _khalil_function(torch.tensor([1e6, 0.0], dtype=torch.float64))

    def unrefuted(V: lyapunov.sampling.Function, field: dynamics.maps.Field) -> bool:
        return lyapunov.falsify(V, field, states).verdict is not Proof.REFUTED

    return Evidence(
        printed=(below("Khalil's system: ‖x(2000)‖ from (4, 1), ‖x(0)‖ = √17", float(escaped.norm()), 17**0.5),),
        corrected=(
            close("… where x₁ is", float(escaped[0]), 3862.0, 1.0),
            fact("… though none of 4000 random states has V ≤ 0 or V̇ ≥ 0", unrefuted(_khalil_function, systems.khalil)),
            below("V at (10⁶, 0): not radially unbounded", float(far), 1.0),
            below("inside {V < 1}, which is bounded: ‖x(20)‖", _farthest_end(systems.khalil, inside, 0.02, 20), 1e-3),
            fact("dx/dt = (−x₁ + x₂, −x₁ − x₂ − x₂³), V = ‖x‖²: none of 4000 refutes", unrefuted(_bowl, _damped)),
            below(
                "… from 64 starts with ‖x‖ = 5: largest ‖x(10)‖",
                _farthest_end(_damped, 5 * _circle(64), 0.02, 10),
                5 * math.exp(-10),
            ),
        ),
    )


@claim(
    "5.1.3/sublevel-sets",
    source="final version, §5.1.3: where V̇ < 0",
    printed="Every state at which V̇ < 0 lies in the basin of attraction.",
    corrected="The component of {V < ρ} around 0 does, if it is bounded and V̇ < 0 throughout it.",
    verdict=Verdict.HOLDS_CORRECTED,
    note="Reversed Van der Pol oscillator, V = xᵀPx with P = [[1.5, −0.5], [−0.5, 1]].",
)
def sublevel_sets() -> Evidence:
    field = systems.reversed_van_der_pol
    state = torch.tensor([[2.2, 0.0]], dtype=torch.float64)
    rate = float(lyapunov.orbital_derivative(_quadratic, field, state)[0])
    path = dynamics.trajectory(dynamics.runge_kutta_4(field, 0.02), state, 750).norm(dim=2)
    farthest = float(path.nan_to_num(nan=torch.inf).max())
    lowest = lyapunov.failing_level(_quadratic, field, dynamics.grid((-3.0, -3.0), (3.0, 3.0), 6))
    rays = _circle(64)
    starts = rays * (2.3 / torch.func.vmap(_quadratic)(rays)).sqrt().unsqueeze(1)
    inside = torch.cat([size * starts for size in torch.linspace(0.02, 1, 50).tolist()])
    falls = lyapunov.falsify(_quadratic, field, inside)
    return Evidence(
        printed=(below("reversed Van der Pol: largest ‖x(t)‖, t ≤ 15, from (2.2, 0)", farthest, 3.0),),
        corrected=(
            close("… where V̇ is", rate, -4.84, 1e-9),
            close("lowest level at which V̇ = 0", math.inf if lowest is None else lowest.level, 2.3045, 1e-4),
            fact("V̇ < 0 at 3200 states of {V ≤ 2.3}", falls.verdict is not Proof.REFUTED),
            below("64 starts on V = 2.3: largest ‖x(40)‖", _farthest_end(field, starts, 0.05, 40), 1e-6),
        ),
    )


@claim(
    "5.1.3/controllability",
    source="§5, the title: “Stability, controllability and observability”",
    printed="dx/dt = A x + B u is controllable if and only if [B, AB, …, A^{N−1}B] has rank N, and observable if its "
    "dual is controllable.",
    verdict=Verdict.HOLDS,
    note="Kalman's condition; the seed's section names the subject and says nothing of it.",
)
def controllability() -> Evidence:
    A = torch.tensor([[0.0, 1.0, 0.0], [-2.0, -3.0, 0.0], [0.0, 0.0, -1.5]], dtype=torch.float64)
    reaching = torch.tensor([[0.0], [1.0], [1.0]], dtype=torch.float64)
    blind = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    ranks = [dynamics.controllable_rank(A, B) for B in (reaching, blind)]
    gramians = [torch.linalg.eigvalsh(dynamics.gramian_of_flow(A, B, 1.0)) for B in (reaching, blind)]
    blocks = torch.linalg.matrix_rank(dynamics.controllability_matrix(A, reaching))
    # A state is observable if the outputs C e^{At} x differ from zero.
    times = torch.linspace(0, 1, 10, dtype=torch.float64).tolist()
    seen = [
        int(torch.linalg.matrix_rank(torch.cat([B.T @ torch.linalg.matrix_exp(time * A) for time in times])))
        for B in (reaching, blind)
    ]
    duals = [dynamics.controllable_rank(A.T, B) for B in (reaching, blind)]
    # The control of least energy steers 0 to x in one second: u(s) = Bᵀ e^{Aᵀ(1−s)} G⁻¹ x.
    target = torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64)
    costate = torch.linalg.solve(dynamics.gramian_of_flow(A, reaching, 1.0), target)
    state, steps = torch.zeros(3, dtype=torch.float64), 2_000
    half = torch.linalg.matrix_exp(A / (2 * steps))
    for index in range(steps):
        left = 1 - (index + 0.5) / steps
        control = reaching.T @ torch.linalg.matrix_exp(A.T * left) @ costate
        state = half @ (half @ state + reaching @ control / steps)
    return Evidence(
        printed=(
            close("rank with an input that reaches every mode, N = 3", ranks[0], 3, 0),
            close("… and of the matrix itself", int(blocks), 3, 0),
            close("rank with an input that misses one", ranks[1], 2, 0),
            above("smallest eigenvalue of the Gramian where controllable", float(gramians[0].min()), 1e-9),
            below("… where not", float(gramians[1].min().abs()), 1e-12),
            below(
                "control from the Gramian steers 0 to (1, −1, 2): error, 2000 midpoint steps",
                float((state - target).norm()),
                5e-4,
            ),
            close("rank of ten outputs C e^{At} that see every mode, against the dual's", seen[0], duals[0], 0),
            close("… that miss one", seen[1], duals[1], 0),
        )
    )
