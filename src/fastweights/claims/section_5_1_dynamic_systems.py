"""§5.1 The direct method of Lyapunov and definitions of aspects of dynamic systems."""

from __future__ import annotations

import math
from collections.abc import Callable

import sympy
import torch
from torch import Tensor

from fastweights import dynamics
from fastweights.claims.base import Evidence, Verdict, above, below, claim, close, fact


def _superposition_defect(function: Callable[[Tensor], Tensor], size: int) -> float:
    """‖F(2a + 3b) − 2F(a) − 3F(b)‖ for two random states: zero for a linear function, whatever they are."""
    draw = torch.Generator().manual_seed(51)
    a, b = torch.randn(2, size, dtype=torch.float64, generator=draw)
    return float((function(2 * a + 3 * b) - 2 * function(a) - 3 * function(b)).norm())


def _tanh_step(size: int, gain: float) -> Callable[[Tensor], Tensor]:
    draw = torch.Generator().manual_seed(52)
    return dynamics.systems.tanh_network(
        gain * torch.randn(size, size, dtype=torch.float64, generator=draw) / size**0.5
    )


@claim(
    "5.1/first-power",
    source="§5.1, “linear (namely, the exponents of x_j are to the first power only)”",
    printed="A system in which every variable stands to the first power only is linear.",
    verdict=Verdict.REFUTED,
    note="Superposition decides: F(αa + βb) = αF(a) + βF(b). Products of different variables are first powers too.",
)
def first_power() -> Evidence:
    field = dynamics.systems.lorenz()
    states = torch.randn(10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(56))
    second = torch.func.vmap(torch.func.jacfwd(torch.func.jacrev(field)))(states)
    if second.diagonal(dim1=2, dim2=3).any():
        raise ArithmeticError("Lorenz's field has a ∂²F_i/∂x_j² ≠ 0: a variable in a power above the first")
    defect = _superposition_defect(field, 3)
    return Evidence(
        printed=(
            below("Lorenz's field, every ∂²F_i/∂x_j² = 0 (products x₁x₂, x₁x₃): superposition defect", defect, 1e-9),
        )
    )


@claim(
    "5.1/rnn-nonlinear",
    source="§5.1, “Recurrent neural networks are generally non-linear”",
    printed="A recurrent network is in general not linear.",
    verdict=Verdict.HOLDS,
)
def rnn_nonlinear() -> Evidence:
    linear = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(53))
    return Evidence(
        printed=(
            above("superposition defect of h ← tanh(W h), N = 8", _superposition_defect(_tanh_step(8, 1.0), 8), 0.1),
            below("the same for h ← W h", _superposition_defect(lambda h: linear @ h, 8), 1e-12),
        )
    )


@claim(
    "5.1/decoupled",
    source="§5.1, dx_j/dt = F_j(x_j(t))",
    printed="A nonlinear dynamic system is dx_j/dt = F_j(x_j): each element of F depends on its own state variable.",
    corrected="It is dx_j/dt = F_j(x_1, …, x_N); otherwise it falls into N systems of order one.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def decoupled() -> Evidence:
    state = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    J = dynamics.jacobian(dynamics.systems.lorenz(), state)[0]
    expected = torch.tensor([[-10.0, 10.0, 0.0], [28.0 - 3.0, -1.0, -1.0], [2.0, 1.0, -8 / 3]], dtype=torch.float64)
    off_diagonal = (J - J.diagonal().diag()).abs().max()
    return Evidence(
        printed=(below("largest ∂F_i/∂x_j, i ≠ j, of Lorenz's system at (1, 2, 3)", float(off_diagonal), 0.0),),
        corrected=(below("Jacobian against the one by hand", float((J - expected).abs().max()), 1e-12),),
    )


@claim(
    "5.1/uniqueness",
    source="§5.1, “F continuous is sufficient for the existence of a solution; for the uniqueness …”",
    printed="A continuous F gives a solution, but not only one; for one it takes more, as Lipschitz's condition.",
    verdict=Verdict.HOLDS,
)
def uniqueness() -> Evidence:
    t = sympy.Symbol("t", nonnegative=True)
    steepness = [sympy.sqrt(x) / x for x in (sympy.Rational(1, 10**k) for k in (2, 4, 6))]
    solutions = (sympy.Integer(0), t**2 / 4)
    starts = torch.tensor([[0.0], [1e-12]], dtype=torch.float64)

    def after_two(field: Callable[[Tensor], Tensor]) -> list[float]:
        ends: list[float] = dynamics.trajectory(dynamics.runge_kutta_4(field, 1e-3), starts, 2_000)[-1, :, 0].tolist()
        return ends

    rest, parted = after_two(lambda x: x.abs().sqrt())
    _, near = after_two(torch.tanh)
    return Evidence(
        printed=(
            *(
                fact(f"x = {x} solves dx/dt = √|x|, x(0) = 0", sympy.simplify(sympy.diff(x, t) - sympy.sqrt(x)) == 0)
                for x in solutions
            ),
            fact("the two part after t = 0", solutions[0].subs(t, 1) != solutions[1].subs(t, 1)),
            above("√|x| has no Lipschitz constant at 0: its slope from 0 to 10⁻⁶", float(steepness[-1]), 999.0),
            close("x(2) from 0, Runge–Kutta", rest, 0.0, 0.0),
            # Exact is (10⁻⁶ + 1)²; the first step, across the kink, is as wrong as it is long.
            close("x(2) from 10⁻¹²: on the other solution", parted, 1.0, 2e-3),
            below("the same for tanh x, Lipschitz with K = 1: over e² 10⁻¹²", near / math.exp(2) * 1e12, 1 + 1e-9),
        )
    )


@claim(
    "5.1/existence-global",
    source="§5.1, “the Lipschitz condition guarantees both the existence of a solution and its uniqueness”",
    printed="Where F satisfies the Lipschitz condition on an open set M, a solution from M exists for all times.",
    corrected="It exists, and is the only one, until it leaves M; globally Lipschitz F give solutions for all times.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def existence_global() -> Evidence:
    start = torch.tensor([[1.0]], dtype=torch.float64)
    steps, dt = 990, 1e-3

    def run(field: Callable[[Tensor], Tensor], length: float) -> Tensor:
        return dynamics.trajectory(dynamics.runge_kutta_4(field, length), start, steps)[:, 0, 0]

    blowing, lasting = run(lambda x: x * x, dt), run(torch.tanh, 100 * dt)
    times = dt * torch.arange(steps + 1, dtype=torch.float64)
    exact = 1 / (1 - times)
    early = times <= 0.45
    return Evidence(
        printed=(below("dx/dt = x², Lipschitz with K = 4 on M = (−2, 2), from 1: x(0.99)", float(blowing[-1]), 2.0),),
        corrected=(
            below("against 1/(1 − t) while in M", float((blowing - exact)[early].abs().max()), 1e-10),
            close(
                "against 1/(1 − t) at t = 0.99, a hundredth before it ends, relative",
                float(blowing[-1] / exact[-1]),
                1,
                1e-4,
            ),
            close(
                "dx/dt = tanh x, Lipschitz everywhere: x(99) against arsinh(e⁹⁹ sinh 1)",
                float(lasting[-1]),
                math.asinh(math.exp(99) * math.sinh(1)),
                1e-6,
            ),
        ),
    )


@claim(
    "5.1/finite-partials",
    source="§5.1, “if all partial derivatives ∂F_i/∂x_j are finite everywhere …”",
    printed="If all partial derivatives of F are finite everywhere, F satisfies the Lipschitz condition.",
    corrected="If they are continuous and bounded on a convex set, sup ‖J‖ is a Lipschitz constant there.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def finite_partials() -> Evidence:
    x, y, h = sympy.symbols("x y h", real=True)
    quotient = x * y / (x**2 + y**2)  # 0 at 0
    at_zero = [sympy.limit(quotient.subs({x: a, y: b}) / h, h, 0) for a, b in ((h, 0), (0, h))]
    ratio = float(quotient.subs({x: 1, y: 1})) / 1e-9 / 2**0.5
    step = _tanh_step(6, 2.0)
    draw = torch.Generator().manual_seed(54)
    a, b = torch.randn(2, 500, 6, dtype=torch.float64, generator=draw)
    run = torch.func.vmap(step)
    quotients = (run(a) - run(b)).norm(dim=1) / (a - b).norm(dim=1)
    W = dynamics.jacobian(step, torch.zeros(1, 6, dtype=torch.float64))[0]  # tanh is steepest at 0
    _, stretches, directions = torch.linalg.svd(W)
    constant, short = float(stretches[0]), 1e-4 * directions[0]
    steepest = float((step(short) - step(-short)).norm() / (2 * short).norm())
    return Evidence(
        printed=(
            below("xy/(x² + y²), 0 at 0: difference quotient from 0 to 10⁻⁹ (1, 1)", ratio, 1e6),
            below(
                "x², slope finite everywhere: difference quotient between 10⁹ and 10⁹ + 1", (1e9 + 1) ** 2 - 1e18, 1e6
            ),
        ),
        corrected=(
            fact("xy/(x² + y²) has finite partials at 0: both are 0", at_zero == [0, 0]),
            below("tanh(W h): largest of 500 difference quotients, against sup ‖J‖₂", float(quotients.max()), constant),
            close(
                "… which is the least constant: quotient across 0, 2·10⁻⁴ long, over it", steepest / constant, 1, 1e-6
            ),
        ),
    )


@claim(
    "5.1/flow-criterion",
    source="§5.1, the state-space equation as the model of a recurrent network",
    printed="A recurrent network is an autonomous flow: its equilibrium is stable if the eigenvalues have negative "
    "real parts.",
    corrected="In discrete time it is a map: a fixed point M(h) = h is stable if the eigenvalues of ∂M/∂h lie inside "
    "the unit circle.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def flow_criterion() -> Evidence:
    draw = torch.Generator().manual_seed(55)
    agree_flow = agree_map = 0
    total = 40
    for _ in range(total):
        W = 0.55 * torch.randn(4, 4, dtype=torch.float64, generator=draw)
        step = dynamics.systems.tanh_network(W)
        J = dynamics.jacobian(step, torch.zeros(1, 4, dtype=torch.float64))[0]
        start = 1e-6 * torch.randn(1, 4, dtype=torch.float64, generator=draw)
        path = dynamics.trajectory(step, start, 400)
        returns = bool(path[-1].norm() < start.norm())
        agree_flow += (dynamics.linearise_field(J).stability == "asymptotically stable") == returns
        agree_map += (dynamics.linearise_map(J).stability == "asymptotically stable") == returns
    return Evidence(
        printed=(
            close(f"share of {total} tanh networks whose fate the real parts tell", agree_flow / total, 1.0, 0.0),
        ),
        corrected=(close(f"share of {total} whose fate the moduli tell", agree_map / total, 1.0, 0.0),),
    )
