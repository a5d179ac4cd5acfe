"""§5.1.3 Theorems regarding stability: those that the section announces, and the controllability of its title."""

from __future__ import annotations

import numpy as np
import scipy.integrate
import torch
from torch import Tensor

from fastweights import dynamics
from fastweights.claims.base import Evidence, Verdict, above, below, claim, close
from fastweights.dynamics import lyapunov, systems
from fastweights.dynamics.lyapunov.sampling import failing_level, falsify, orbital_derivative
from fastweights.dynamics.verdicts import Verdict as Proof


def _khalil_function(x: Tensor) -> Tensor:
    return x[0] ** 2 / (1 + x[0] ** 2) + x[1] ** 2


def _quadratic(x: Tensor) -> Tensor:
    """xᵀPx, P = [[1.5, −0.5], [−0.5, 1]], which solves JᵀP + PJ = −I for the reversed Van der Pol oscillator."""
    return 1.5 * x[0] ** 2 - x[0] * x[1] + x[1] ** 2


def _run(field: dynamics.maps.Field, starts: list[list[float]], dt: float, steps: int) -> Tensor:
    """The last states."""
    step = torch.func.vmap(dynamics.runge_kutta_4(field, dt))
    states = torch.tensor(starts, dtype=torch.float64)
    for _ in range(steps):
        states = step(states)
    return states


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
        right += (finding.verdict is Proof.PROVED) == truth
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
    falling = falsify(_khalil_function, systems.khalil, states).verdict is not Proof.REFUTED
    escaped = _adaptive(systems.khalil, (4.0, 1.0), 2_000.0)
    inside = _run(systems.khalil, [[0.5, 0.5], [-0.7, 0.3]], 0.01, 2_000)
    far = _khalil_function(torch.tensor([1e6, 0.0], dtype=torch.float64))
    return Evidence(
        printed=(
            below(
                f"V̇ < 0 at 4000 random states ({falling}); yet ‖x(2000)‖ from (4, 1)",
                float(escaped.norm()) if falling else 0.0,
                float(torch.tensor([4.0, 1.0]).norm()),
            ),
        ),
        corrected=(
            close("… where x₁ is", float(escaped[0]), 3862.0, 1.0),
            below("V at (10⁶, 0): bounded along the way", float(far), 1.0),
            below("from inside {V < 1}, whose level sets are closed: ‖x(20)‖", float(inside.norm(dim=1).max()), 1e-3),
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
    rate = float(orbital_derivative(_quadratic, field, state)[0])
    path = dynamics.trajectory(dynamics.runge_kutta_4(field, 0.01), state, 1_500).norm(dim=2)
    farthest = float(path.nan_to_num(nan=torch.inf).max())
    level = failing_level(_quadratic, field, dynamics.grid((-3.0, -3.0), (3.0, 3.0), 15))
    directions = torch.linspace(0, 2 * torch.pi, 65, dtype=torch.float64)[:-1]
    rays = torch.stack((directions.cos(), directions.sin()), dim=1)
    sizes = torch.func.vmap(_quadratic)(rays)
    starts = rays * (2.3 / sizes).sqrt().unsqueeze(1)
    ends = _run(field, starts.tolist(), 0.01, 4_000)
    return Evidence(
        printed=(
            below(f"V̇ at (2.2, 0) is {rate:.4g}; the largest ‖x(t)‖ from there", farthest if rate < 0 else 0.0, 3.0),
        ),
        corrected=(
            close("V̇ at (2.2, 0)", rate, -4.84, 1e-9),
            close("lowest level at which V̇ = 0", float("nan") if level is None else level.level, 2.3045, 1e-3),
            below("64 starts on V = 2.3: largest ‖x(40)‖", float(ends.norm(dim=1).max()), 1e-6),
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
            close("observable rank of the dual system", dynamics.observable_rank(A.T, blind.T), ranks[1], 0),
        )
    )
