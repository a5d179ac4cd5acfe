"""The definitions of stability, each separated from its neighbours by a system with a known solution."""

import math

import pytest
import torch

from fastweights import UsageError
from fastweights.dynamics import (
    Finding,
    Verdict,
    asymptotically_stable,
    ball,
    convergent,
    globally_asymptotically_stable,
    linearise_field,
    linearise_map,
    runge_kutta_4,
    systems,
    trajectory,
    uniformly_stable,
)
from fastweights.dynamics.lyapunov import falsify, linear_field, orbital_derivative

pytestmark = pytest.mark.usefixtures("float64")
ORIGIN = torch.zeros(2)


def test_a_finding_is_never_a_bare_true():
    with pytest.raises(TypeError, match="PROVED needs a certificate"):
        Finding(Verdict.PROVED, "claim", "because")
    with pytest.raises(TypeError, match="REFUTED needs the point"):
        Finding(Verdict.REFUTED, "claim", "because")
    with pytest.raises(TypeError, match="UNDECIDED is neither"):
        bool(Finding(Verdict.UNDECIDED, "claim", "because"))


def test_stable_is_not_convergent():
    centre = runge_kutta_4(lambda x: torch.stack((-x[1], x[0])), 0.05)
    stable = uniformly_stable(centre, ORIGIN, epsilon=0.5, deltas=(0.4,), steps=500)
    assert stable.verdict is Verdict.UNDECIDED
    moves = convergent(centre, ORIGIN, delta=0.4, tolerance=0.1, steps=500)
    assert moves.verdict is Verdict.REFUTED
    assert math.hypot(*moves.point) > 0.1


def test_the_unit_circle_follows_its_closed_form():
    angle, dt = 0.2, 0.05
    start = torch.tensor([[math.cos(angle), math.sin(angle)]])
    path = trajectory(runge_kutta_4(systems.unit_circle, dt), start, 800)[:, 0]
    time = dt * torch.arange(801)
    expected = 2 * torch.arctan2(torch.ones(801), 1 / math.tan(angle / 2) - time / 2)  # cot(θ/2) falls at the rate ½
    torch.testing.assert_close(torch.atan2(path[:, 1], path[:, 0]) % (2 * math.pi), expected, atol=1e-7, rtol=0)


def test_convergent_is_not_stable_on_the_unit_circle():
    step, equilibrium = runge_kutta_4(systems.unit_circle, 0.1), torch.tensor([1.0, 0.0])
    left = uniformly_stable(step, equilibrium, epsilon=1.9, deltas=(0.3, 0.1), steps=700, samples=16)
    assert left.verdict is Verdict.REFUTED
    assert 0 < math.dist(left.point, (1, 0)) < 0.1
    returned = convergent(step, equilibrium, delta=0.3, tolerance=0.2, steps=1000, samples=16)
    assert returned.verdict is Verdict.UNDECIDED
    both = asymptotically_stable(step, equilibrium, epsilon=1.9, deltas=(0.3,), tolerance=0.2, steps=500, samples=16)
    assert both.verdict is Verdict.REFUTED


def test_convergent_is_not_stable_in_vinograds_plane():
    step = runge_kutta_4(systems.vinograd, 0.1)
    left = uniformly_stable(step, ORIGIN, epsilon=0.3, deltas=(0.01, 0.001), steps=500, samples=16)
    assert left.verdict is Verdict.REFUTED
    starts = torch.tensor([left.point])
    excursion = trajectory(step, starts, 1000).norm(dim=2)[:, 0]
    assert excursion.max() > 300 * excursion[0]
    assert excursion[-1] < 0.2


def test_asymptotically_stable_is_not_globally_so():
    step = runge_kutta_4(systems.reversed_van_der_pol, 0.05)
    options = {"epsilon": 1.0, "deltas": (0.2,), "tolerance": 0.01, "steps": 400}
    assert asymptotically_stable(step, ORIGIN, **options).verdict is Verdict.UNDECIDED
    found = globally_asymptotically_stable(step, ORIGIN, radius=4.0, **options)
    assert found.verdict is Verdict.REFUTED
    assert math.hypot(*found.point) > 1.9, "outside the limit cycle"


def test_a_contraction_cannot_be_refuted():
    found = globally_asymptotically_stable(
        lambda x: 0.5 * torch.sin(x), ORIGIN, epsilon=0.1, deltas=(0.1,), radius=1e3, tolerance=1e-6, steps=100
    )
    assert found.verdict is Verdict.UNDECIDED


def test_khalils_function_falls_while_the_trajectory_escapes():
    def V(x):
        return x[0] ** 2 / (1 + x[0] ** 2) + x[1] ** 2

    start = torch.tensor([[4.0, 1.0]])
    path = trajectory(runge_kutta_4(systems.khalil, 1.0), start, 2000)[:, 0]
    assert path[-1, 0] == pytest.approx(3862, abs=1)
    assert (torch.func.vmap(V)(path).diff() < 0).all()
    assert falsify(V, systems.khalil, 5 * torch.randn(2000, 2)).verdict is Verdict.UNDECIDED
    # Not radially unbounded: V stays below 1 along the whole x₁-axis.
    assert V(torch.tensor([1e9, 0.0])) <= 1
    found = globally_asymptotically_stable(
        runge_kutta_4(systems.khalil, 0.2), ORIGIN, epsilon=1.0, deltas=(0.1,), radius=6.0, tolerance=0.1, steps=300
    )
    assert found.verdict is Verdict.UNDECIDED, "still near enough for the default escape radius"
    gone = convergent(runge_kutta_4(systems.khalil, 0.2), ORIGIN, delta=6.0, tolerance=0.1, steps=300, escape=50.0)
    assert gone.verdict is Verdict.REFUTED


def test_markus_yamabe_grows_with_stable_eigenvalues_at_every_time():
    for t in torch.linspace(0, 7, 15).tolist():
        A = systems.markus_yamabe(t)
        assert linear_field(A).verdict is Verdict.PROVED
        eigenvalues = torch.linalg.eigvals(A)
        torch.testing.assert_close(eigenvalues.real, torch.full((2,), -0.25))
        torch.testing.assert_close(eigenvalues.imag.abs(), torch.full((2,), math.sqrt(7) / 4))
        growing = math.exp(t / 2) * torch.tensor([-math.cos(t), math.sin(t)])
        velocity = growing / 2 + math.exp(t / 2) * torch.tensor([math.sin(t), math.cos(t)])
        torch.testing.assert_close(A @ growing, velocity)


def test_the_orbital_derivative_at_the_point_that_refutes_the_final_paper():
    def V(x):
        return 1.5 * x[0] ** 2 - x[0] * x[1] + x[1] ** 2

    point = torch.tensor([[2.2, 0.0]])
    torch.testing.assert_close(
        orbital_derivative(V, systems.reversed_van_der_pol, point), torch.tensor([-4.84]), rtol=1e-14, atol=0
    )
    assert not trajectory(runge_kutta_4(systems.reversed_van_der_pol, 0.05), point, 400)[-1].isfinite().all()


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: uniformly_stable(torch.cos, torch.zeros(1), epsilon=1.0, deltas=(0.1,), steps=5),
            "equilibrium must be a fixed point of step, but step moves it by 1",
        ),
        (
            lambda: convergent(torch.sin, torch.zeros(1), delta=-1.0, tolerance=0.1, steps=5),
            r"delta must be positive and finite, got -1\.0",
        ),
    ],
)
def test_impossible_arguments(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_a_slow_return_is_not_taken_for_settling_elsewhere():
    """x ← (1 − 1e-5) x is globally asymptotically stable, and within 0.1 % of its start after 100 steps."""
    origin = torch.zeros(1, dtype=torch.float64)
    slow = convergent(lambda x: (1 - 1e-5) * x, origin, delta=1.0, tolerance=1e-3, steps=100)
    still = convergent(lambda x: x, origin, delta=1.0, tolerance=1e-3, steps=100)
    assert (slow.verdict, still.verdict) == (Verdict.UNDECIDED, Verdict.REFUTED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deltas": []}, "deltas must hold at least one"),
        ({"epsilon": float("nan")}, "epsilon must be positive and finite"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"steps": 3}, "steps must be at least 4, got 3"),
    ],
)
def test_empty_trials_are_refused(change, message):
    settings = {"epsilon": 1.0, "deltas": [0.1], "tolerance": 0.1, "steps": 10} | change
    with pytest.raises(UsageError, match=message):
        asymptotically_stable(lambda x: x / 2, torch.zeros(1, dtype=torch.float64), **settings)


def test_a_ball_is_filled_evenly():
    for size in (1, 2, 5):
        shares = (ball(torch.ones(size), 2.0, 4000, seed=0) - 1).norm(dim=1) / 2
        assert shares.max() <= 1
        # (r/R)^N, the share of volume within r, is uniform.
        assert abs(float((shares**size).mean()) - 0.5) < 4 / math.sqrt(12 * 4000)


def test_the_point_that_refutes_is_within_the_smallest_delta():
    for deltas in ((0.3, 0.1), (0.1, 0.3)):
        left = uniformly_stable(lambda s: 2 * s, torch.zeros(2), epsilon=1.0, deltas=deltas, steps=20)
        assert left.verdict is Verdict.REFUTED
        assert math.hypot(*left.point) < 0.1


def test_the_smallest_delta_alone_has_to_converge():
    step = runge_kutta_4(systems.reversed_van_der_pol, 0.05)
    options = {"epsilon": 1.0, "deltas": (0.2, 4.0), "tolerance": 0.01, "steps": 400}
    assert asymptotically_stable(step, torch.zeros(2), **options).verdict is Verdict.UNDECIDED


def test_the_tolerance_says_how_near_the_boundary_is_on_it():
    J = torch.diag(torch.tensor([-1e-3, -1.0]))
    assert linearise_field(J).kind == "stable node"
    assert linearise_field(J, tolerance=1e-2).kind == "undecided"
    assert linearise_field(1e6 * J, tolerance=1e-2).kind == "undecided"
    assert linearise_map(torch.eye(2) + J, tolerance=1e-2).kind == "undecided"


def test_every_delta_is_checked():
    with pytest.raises(UsageError, match="deltas must be positive and finite"):
        uniformly_stable(lambda s: s / 2, torch.zeros(1), epsilon=1.0, deltas=(0.1, -1.0), steps=5)
