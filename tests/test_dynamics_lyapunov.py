"""Certificates: PROVED is rechecked here by independent exact arithmetic, REFUTED by its point, the rest stays open."""

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch

from fastweights import UsageError
from fastweights.dynamics import Verdict, ball, basins, runge_kutta_4, systems, trajectory
from fastweights.dynamics.lyapunov import (
    failing_level,
    falsify,
    globally_stable,
    linear,
    linear_field,
    linear_map,
    nonnegative,
    region_of_attraction,
    sector,
    tanh_map,
)
from fastweights.dynamics.lyapunov.exact import is_positive_definite, is_positive_semidefinite, rational

pytestmark = pytest.mark.usefixtures("float64")
x, y, z = sympy.symbols("x y z")
VAN_DER_POL = (-y, x - y * (1 - x**2))
QUADRATIC = sympy.Rational(3, 2) * x**2 - x * y + y**2


def quadratic(s):
    return 1.5 * s[0] ** 2 - s[0] * s[1] + s[1] ** 2


def to_sympy(fractions):
    return sympy.Matrix([[sympy.Rational(f.numerator, f.denominator) for f in row] for row in fractions.tolist()])


def test_definiteness_is_decided_below_what_floats_can_see():
    tiny = Fraction(1, 2**80)
    above = np.array([[Fraction(1), Fraction(1)], [Fraction(1), 1 + tiny]])
    below = np.array([[Fraction(1), Fraction(1)], [Fraction(1), 1 - tiny]])
    singular = np.array([[Fraction(1), Fraction(1)], [Fraction(1), Fraction(1)]])
    assert is_positive_definite(above)
    assert not is_positive_semidefinite(below)
    assert is_positive_semidefinite(singular)
    assert not is_positive_definite(singular)
    assert not is_positive_semidefinite(np.array([[Fraction(1), Fraction(1)], [Fraction(0), Fraction(1)]]))
    assert not is_positive_semidefinite(np.array([[Fraction(0), Fraction(1)], [Fraction(1), Fraction(0)]]))


def test_definiteness_agrees_with_sympy_on_random_matrices():
    rng = np.random.default_rng(0)
    for rank in (2, 3, 4):
        factor = rng.integers(-5, 6, size=(4, rank)).astype(float)
        for shift in (-1.0, 0.0, 1.0):
            matrix = factor @ factor.T + shift * np.eye(4)
            exact = to_sympy(rational(matrix))
            assert is_positive_definite(rational(matrix)) == exact.is_positive_definite
            assert is_positive_semidefinite(rational(matrix)) == exact.is_positive_semidefinite


@pytest.mark.parametrize("size", [1, 4, 12])
def test_linear_systems_are_decided_as_their_eigenvalues_say(size):
    for _ in range(4):
        A = torch.randn(size, size)
        top, radius = float(torch.linalg.eigvals(A).real.max()), float(torch.linalg.eigvals(A).abs().max())
        for shift, verdict in ((-0.1, Verdict.PROVED), (0.1, Verdict.REFUTED)):
            assert linear_field(A + (shift - top) * torch.eye(size)).verdict is verdict
            assert linear_map(A * (1 + shift) / radius).verdict is verdict


def test_a_linear_certificate_holds_in_sympy():
    A = torch.tensor([[0.0, 1.0], [-2.0, -0.1]])
    found = linear_field(A)
    P, exact = to_sympy(found.certificate["P"]), to_sympy(rational(A))
    assert P.is_positive_definite
    assert (-(exact.T * P + P * exact)).is_positive_definite
    found = linear_map(A / 2)
    P, exact = to_sympy(found.certificate["P"]), exact / 2
    assert P.is_positive_definite
    assert (P - exact.T * P * exact).is_positive_definite


def test_a_linear_refutation_carries_a_point_that_does_not_converge():
    A = torch.tensor([[0.5, 2.0], [0.0, 1.1]])
    point = torch.tensor([linear_map(A).point])
    assert trajectory(lambda s: A @ s, point, 100)[-1].norm() > 1e3


BOUNDARY = {
    "centre": [[0.0, -1], [1, 0]],
    "zero eigenvalue": [[0.0, 0], [0, -1]],
    "double zero": [[0.0, 1], [0, 0]],
    "opposite pair": [[3.0, 0], [0, -3]],
}


@pytest.mark.parametrize("matrix", BOUNDARY.values(), ids=BOUNDARY)
def test_on_the_boundary_something_is_conserved(matrix):
    A = torch.tensor(matrix)
    found = linear_field(A)
    assert found.verdict is Verdict.REFUTED
    P, exact = to_sympy(found.certificate["P"]), to_sympy(rational(A))
    assert (exact.T * P + P * exact).is_zero_matrix
    point = sympy.Matrix(found.point)
    assert (point.T * P * point)[0] != 0


def test_maps_on_the_boundary_and_one_step_of_a_float_inside_it():
    assert linear_map(torch.tensor([[0.0, -1], [1, 0]])).verdict is Verdict.REFUTED
    assert linear_map(torch.eye(1)).verdict is Verdict.REFUTED
    assert linear_map(torch.tensor([[1 - 2.0**-30]])).verdict is Verdict.PROVED
    assert linear_map(torch.tensor([[1 + 2.0**-30]])).verdict is Verdict.REFUTED
    large = torch.linalg.qr(torch.randn(30, 30)).Q
    assert linear_map(large).verdict is Verdict.UNDECIDED, "on the circle but for rounding"


def test_the_sector_inequality_certifies_more_than_the_norm():
    W = torch.randn(20, 20)
    W *= 0.7 / torch.linalg.eigvals(W).abs().max()
    assert torch.linalg.matrix_norm(W, 2) > 1.2
    found = tanh_map(W)
    assert found.verdict is Verdict.PROVED
    P, L = found.certificate["P"], found.certificate["Lambda"]
    w = rational(W)
    inequality = np.block([[-P, w.T @ L], [L @ w, P - 2 * L]])
    # Independently of the package's elimination: negative definite by a margin that float64 cannot mistake.
    assert np.linalg.eigvalsh(inequality.astype(float)).max() < -1e-6
    assert all(entry >= 0 for entry in np.diag(L))
    # V falls along trajectories from everywhere, the corners included.
    V = torch.from_numpy(P.astype(float))
    path = trajectory(systems.tanh_network(W), 10 * torch.randn(50, 20), 30)
    values = torch.einsum("tbi,ij,tbj->tb", path, V, path)
    assert (values.diff(dim=0) < 0).all()


def test_the_sector_inequality_neither_proves_nor_refutes_too_much():
    W = torch.tensor([[0.0, -1.2], [0.8, 0.0]])  # ρ(W) = √0.96
    assert torch.linalg.matrix_norm(W, 2) > 1
    assert tanh_map(W).verdict is Verdict.PROVED
    unstable = tanh_map(torch.tensor([[1.5, 0.0], [0.0, 0.5]]))
    assert unstable.verdict is Verdict.REFUTED
    assert abs(unstable.point[0]) > abs(unstable.point[1]), "the direction of the flip-flop's unit"
    away = trajectory(
        systems.tanh_network(torch.tensor([[1.5, 0.0], [0.0, 0.5]])), 1e-6 * torch.tensor([unstable.point]), 60
    )
    torch.testing.assert_close(away[-1].abs(), torch.tensor([[0.8585596, 0.0]]), atol=1e-6, rtol=0)
    # On the boundary, ρ(W) = 1, the origin attracts but no strict inequality holds.
    assert tanh_map(torch.eye(2)).verdict is Verdict.UNDECIDED


def test_a_solver_that_errs_proves_nothing(monkeypatch):
    W = torch.tensor([[0.0, -1.2], [0.8, 0.0]])
    # P = Λ = I satisfies the inequality only for ‖W‖₂ < 1.
    monkeypatch.setattr(sector, "_solve", lambda w: (np.eye(2), np.ones(2)))
    assert tanh_map(W).verdict is Verdict.UNDECIDED
    assert tanh_map(W / 1.3).verdict is Verdict.PROVED
    monkeypatch.setattr(sector, "_solve", lambda w: (-np.eye(2), np.zeros(2)))
    assert tanh_map(W / 1.3).verdict is Verdict.UNDECIDED
    monkeypatch.setattr(linear, "_solve", lambda solver, a, q: np.eye(2))
    assert linear_map(W).verdict is Verdict.UNDECIDED, "x₁² + x₂² does not fall everywhere"


def check_gram(polynomial, variables, monomials, gram):
    powers = sympy.Matrix([sympy.prod(v**k for v, k in zip(variables, m, strict=True)) for m in monomials])
    Q = to_sympy(gram)
    assert sympy.expand((powers.T * Q * powers)[0] - polynomial) == 0
    assert Q.is_positive_semidefinite


@pytest.mark.parametrize(
    "polynomial",
    [
        (x - y) ** 2,
        x**4 + y**4 - x * y + sympy.Rational(1, 2),
        2 * x**4 + 2 * x**3 * y - x**2 * y**2 + 5 * y**4,  # Parrilo's example
        x**2 + y**2 + z**2 - x * y - y * z - z * x,
        (x**2 + y**2)
        * (x**4 * y**2 + x**2 * y**4 - 3 * x**2 * y**2 + 1),  # Motzkin's times a square is a sum of squares
    ],
    ids=str,
)
def test_sums_of_squares_are_proved_by_exact_identities(polynomial):
    variables = tuple(sorted(polynomial.free_symbols, key=str))
    found = nonnegative(polynomial, variables)
    assert found.verdict is Verdict.PROVED
    check_gram(polynomial, variables, **found.certificate)


def test_motzkins_polynomial_is_undecided():
    motzkin = x**4 * y**2 + x**2 * y**4 - 3 * x**2 * y**2 + 1
    assert nonnegative(motzkin, (x, y)).verdict is Verdict.UNDECIDED
    lower = nonnegative(motzkin - sympy.Rational(1, 1000), (x, y))
    assert lower.verdict is Verdict.REFUTED, "its minimum is 0"
    assert motzkin.subs(dict(zip((x, y), lower.certificate["exact_point"], strict=True))) < sympy.Rational(1, 1000)


def test_a_cubic_is_refuted():
    found = nonnegative(x**3 + y**2 + 10, (x, y))
    assert found.verdict is Verdict.REFUTED
    assert found.point[0] ** 3 + found.point[1] ** 2 + 10 < 0


def test_global_stability_of_a_polynomial_field():
    field = (-x + y, -x - y - y**3)
    found = globally_stable(field, (x, y))
    assert found.verdict is Verdict.PROVED
    V = found.certificate["V"]
    rate = sympy.expand(V.diff(x) * field[0] + V.diff(y) * field[1])
    check_gram(V - (x**2 + y**2) / 2, (x, y), *found.certificate["value_gram"])
    check_gram(-rate - (x**2 + y**2) / 2, (x, y), *found.certificate["decrease_gram"])


def test_no_polynomial_proves_what_ahmadi_krstic_and_parrilo_showed_to_have_none():
    # Globally asymptotically stable (V = ln(1 + x²) + y²), and without a polynomial Lyapunov function of any degree.
    assert globally_stable((-x + x * y, -y), (x, y), degree=4).verdict is Verdict.UNDECIDED
    assert globally_stable(VAN_DER_POL, (x, y), degree=4).verdict is Verdict.UNDECIDED, "the origin's basin is bounded"


def test_the_region_of_attraction_of_the_reversed_van_der_pol():
    found = region_of_attraction(VAN_DER_POL, (x, y), QUADRATIC)
    assert found.verdict is Verdict.PROVED
    rho, multiplier = found.certificate["rho"], found.certificate["multiplier"]
    assert 2.3043 < rho < 2.3045
    rate = QUADRATIC.diff(x) * VAN_DER_POL[0] + QUADRATIC.diff(y) * VAN_DER_POL[1]
    certified = sympy.expand((x**2 + y**2) ** 2 * (QUADRATIC - rho) + multiplier * rate)
    check_gram(certified, (x, y), found.certificate["monomials"], found.certificate["gram"])

    worst = failing_level(quadratic, systems.reversed_van_der_pol, 2 * torch.randn(4, 2))
    assert worst.level == pytest.approx(2.3045, abs=1e-4)
    assert 0 <= worst.level - float(rho) < 1e-4, "no quadratic level beyond the certified one is left to prove"

    angle = torch.linspace(0, 2 * math.pi, 60)
    circle = torch.stack((angle.cos(), angle.sin()), dim=1)
    level = circle * (float(rho) / torch.func.vmap(quadratic)(circle)).sqrt()[:, None]
    ends = basins(runge_kutta_4(systems.reversed_van_der_pol, 0.1), torch.zeros(1, 2), level, steps=300)
    assert (ends == 0).all()


def test_a_basin_without_bound_has_no_largest_level():
    field = (-x, -y)
    assert region_of_attraction(field, (x, y), x**2 + y**2).verdict is Verdict.UNDECIDED
    assert globally_stable(field, (x, y)).verdict is Verdict.PROVED


def test_sampling_refutes_a_wrong_function_and_never_proves_a_right_one():
    box = ball(torch.zeros(2), 3.0, 500, seed=0)
    wide = falsify(quadratic, systems.reversed_van_der_pol, box)
    assert wide.verdict is Verdict.REFUTED
    assert quadratic(wide.point) > 2.3045, "V̇ < 0 inside the certified level"
    assert falsify(quadratic, systems.reversed_van_der_pol, box / 3).verdict is Verdict.UNDECIDED
    saddle = falsify(lambda s: s[0] ** 2 - s[1] ** 2, systems.reversed_van_der_pol, box)
    assert saddle.verdict is Verdict.REFUTED
    assert abs(saddle.point[1]) > abs(saddle.point[0])


@pytest.mark.parametrize("module", ["clarabel", "cvxpy"])
def test_without_the_extra_the_error_says_what_to_install(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"{module} is not installed: pip install 'fastweights\[certify\]'"):
        tanh_map(torch.eye(2) / 2)
    with pytest.raises(UsageError, match=r"pip install 'fastweights\[certify\]'"):
        nonnegative(x**2, (x,))


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_field(torch.ones(2, 3)), r"A must be a square matrix \(N, N\), got shape \(2, 3\)"),
        (lambda: linear_map(torch.tensor([[math.inf]])), r"A must be finite, got inf at \(0, 0\)"),
        (lambda: tanh_map(torch.ones(2, 3)), "weight_hh must be a square matrix"),
        (lambda: nonnegative(0.1 * x**2, (x,)), r"must have exact coefficients, got a float.*use sympy\.Rational"),
        (lambda: nonnegative(sympy.sin(x), (x,)), "polynomial must be a polynomial in"),
        (lambda: nonnegative(x * y, (x,)), "polynomial must be a polynomial in"),
        (lambda: nonnegative(x, ()), "variables must name at least one symbol"),
        (lambda: globally_stable((-x,), (x, y)), "field must have one component for each of 2 variables, got 1"),
        (lambda: globally_stable((1 - x,), (x,)), "field must vanish at 0"),
        (lambda: globally_stable((-x,), (x,), degree=3), "degree must be even and at least 2, got 3"),
        (lambda: region_of_attraction((-x,), (x,), x**4), r"V must be a quadratic form, got x\*\*4"),
        (
            lambda: region_of_attraction((-x,), (x,), x**2, multiplier_degree=1),
            "multiplier_degree must be even and at least 0, got 1",
        ),
        (lambda: falsify(quadratic, torch.neg, torch.zeros(1, 2)), "at least one state other than 0"),
        (lambda: falsify(lambda s: s.sum() / 0, torch.neg, torch.ones(1, 2)), r"V must be finite, got nan|got inf"),
        (lambda: region_of_attraction((-x,), (x,), x**2, shrink=1.0), r"shrink must be between 0 and 1, got 1\.0"),
        (lambda: falsify(quadratic, lambda s: s / 0, torch.ones(1, 2)), "field is not finite at the state"),
    ],
)
def test_impossible_arguments(call, message):
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize("A", [[[0.5]], torch.tensor([[0.5 + 2j]]), torch.tensor([[1]])])
def test_only_real_floating_point_matrices_are_judged(A):
    """Dropping an imaginary part would prove stable what is not."""
    for judge in (linear_map, linear_field, tanh_map):
        with pytest.raises(UsageError, match="must be a floating-point tensor"):
            judge(A)


def test_a_map_whose_squares_overflow_is_undecided_at_worst():
    A = torch.tensor([[1e200, 1e200], [0.0, 3e200]], dtype=torch.float64)
    assert linear_map(A).verdict is not Verdict.PROVED


def test_a_true_lyapunov_function_is_not_refuted_by_rounding_near_the_origin():
    """1 + x² at x = 1e-9 is 1 in float64."""
    states = torch.tensor([[1e-9], [0.5]], dtype=torch.float64)
    finding = falsify(lambda x: 1 + x.square().sum(), lambda x: -x, states)
    assert finding.verdict is Verdict.UNDECIDED


def test_an_unstable_origin_has_no_region_of_attraction():
    """For dx/dt = x − x³, V̇ vanishes only where x² = 1, yet {x² < 1} runs away from 0: V̇ > 0 near 0 decides."""
    x = sympy.Symbol("x")
    assert region_of_attraction([x - x**3], [x], x**2).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("V", "field", "point"),
    [
        # V vanishes on the axis, while V̇ = −1 there; V is conserved; V falls, but from its maximum at 0.
        (lambda s: s[0] * s[1], lambda s: torch.stack((-s[1], s[0])), [0.0, 1.0]),
        (lambda s: s.square().sum(), lambda s: torch.stack((-s[1], s[0])), [0.5, 0.5]),
        (lambda s: 1 - s.square().sum(), lambda s: s, [0.5]),
    ],
)
def test_functions_that_are_not_strict_are_refuted(V, field, point):
    assert falsify(V, field, torch.tensor([point])).verdict is Verdict.REFUTED
