"""Fixed points and equilibria against systems whose solutions, multipliers and basins are known."""

import itertools
import math
from collections import Counter

import pytest
import torch

import fastweights as fw
from fastweights import UsageError
from fastweights.dynamics import (
    basins,
    equilibria,
    fixed_points,
    grid,
    jacobian,
    linearise_field,
    linearise_map,
    runge_kutta_4,
    slow_points,
    systems,
    trajectory,
)

pytestmark = pytest.mark.usefixtures("float64")


def sorted_rows(points):
    return torch.tensor(sorted(points.tolist()))


def test_the_flip_flop_has_27_fixed_points_8_stable():
    step = systems.tanh_network(1.5 * torch.eye(3))
    found = fixed_points(step, torch.randn(600, 3))
    m = 0.8585596  # tanh(1.5 m) = m
    expected = torch.tensor(list(itertools.product((-m, 0.0, m), repeat=3)))
    torch.testing.assert_close(sorted_rows(found.points.round(decimals=9)), sorted_rows(expected), atol=1e-7, rtol=0)
    assert found.counts.sum() + found.unconverged == 600

    types = [linearise_map(J) for J in jacobian(step, found.points)]
    assert Counter(t.unstable for t in types) == {0: 8, 1: 12, 2: 6, 3: 1}
    assert all(t.hyperbolic for t in types)
    assert Counter(t.kind for t in types) == {"stable node": 8, "saddle": 18, "unstable node": 1}
    corner = next(t for t in types if t.unstable == 0)
    torch.testing.assert_close(corner.eigenvalues.real, torch.full((3,), 0.3943130), atol=1e-6, rtol=0)


def test_the_basins_of_the_flip_flop_are_the_orthants():
    step = systems.tanh_network(1.5 * torch.eye(2))
    corners = 0.8585596 * torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    starts = grid((-2, -2), (2, 2), 10)
    number = (2 * (starts[:, 0] > 0) + (starts[:, 1] > 0)).long()
    assert torch.equal(basins(step, corners, starts, steps=60), number)
    without_last = basins(step, corners[:3], starts, steps=60)
    assert torch.equal(without_last, torch.where(number == 3, -1, number)), "not the nearest one that is listed"


def test_the_basin_of_the_reversed_van_der_pol_is_the_inside_of_its_cycle():
    step = runge_kutta_4(systems.reversed_van_der_pol, 0.1)
    # The cycle of Van der Pol's oscillator at μ = 1 crosses x₂ = 0 at ±2.00862.
    starts = torch.tensor([[0.0, 0.0], [2.0, 0.0], [-2.0, 0.0], [2.02, 0.0], [-2.02, 0.0], [2.2, 0.0]])
    found = basins(step, torch.zeros(1, 2), starts, steps=400, tolerance=0.1)
    assert found.tolist() == [0, 0, 0, -1, -1, -1]


def test_lorenz_equilibria_and_their_types():
    starts = torch.randn(50, 3) * 10
    found = equilibria(systems.lorenz(), starts)
    c = math.sqrt(72)
    torch.testing.assert_close(
        sorted_rows(found.points.round(decimals=8)), torch.tensor([[-c, -c, 27.0], [0, 0, 0], [c, c, 27]])
    )
    for point, J in zip(found.points, jacobian(systems.lorenz(), found.points), strict=True):
        linear = linearise_field(J)
        assert linear.kind == "saddle"
        assert linear.unstable == (1 if point.norm() < 1 else 2)
    # C± are stable foci below ρ = σ(σ + β + 3)/(σ − β − 1) = 24.7368 and saddles above.
    for rho, kind in ((24.7, "stable focus"), (24.8, "saddle")):
        field, height = systems.lorenz(rho=rho), math.sqrt(8 / 3 * (rho - 1))
        J = jacobian(field, torch.tensor([[height, height, rho - 1]]))[0]
        assert linearise_field(J).kind == kind


def test_a_cycle_is_a_fixed_point_of_the_iterated_map():
    r = 3.2
    once = systems.logistic(r)
    found = fixed_points(lambda x: once(once(x)), torch.rand(50, 1))
    root = math.sqrt((r - 3) * (r + 1))
    expected = torch.tensor([[0.0], [(r + 1 - root) / (2 * r)], [1 - 1 / r], [(r + 1 + root) / (2 * r)]])
    torch.testing.assert_close(sorted_rows(found.points.round(decimals=9)), expected, atol=1e-8, rtol=0)
    multipliers = jacobian(lambda x: once(once(x)), expected)[:, 0, 0]
    torch.testing.assert_close(multipliers[[1, 3]], torch.full((2,), 4 + 2 * r - r**2))


def test_a_relu_network_of_100_units_solves_the_linear_system_of_its_active_units():
    weight, bias = 0.12 * torch.randn(100, 100), torch.randn(100)
    found = fixed_points(systems.relu_network(weight, bias), 3 * torch.rand(32, 100))
    assert found.points.shape == (1, 100)
    assert found.counts.tolist() == [32]
    active = (weight @ found.points[0] + bias > 0).double()
    assert 20 < active.sum() < 80
    exact = torch.linalg.solve(torch.eye(100) - active[:, None] * weight, active * bias)
    torch.testing.assert_close(found.points[0], exact)


def test_fixed_points_of_a_trained_irnn_of_100_units():
    layer = fw.IRNN(2, 100, batch_first=True)
    optimiser = torch.optim.Adam(layer.parameters(), 1e-3)
    for _ in range(400):  # the mean unit is to follow the sum of the inputs
        x = torch.rand(32, 30, 2)
        optimiser.zero_grad()
        (layer(x)[0].mean(2) - x.sum(2)).square().mean().backward()
        optimiser.step()
    weight, z = layer.weight_hh.detach(), layer.project(torch.tensor([0.5, 0.5])).detach()
    step = systems.relu_network(weight, z)
    found = fixed_points(step, torch.rand(64, 100))
    assert found.points.shape == (1, 100)
    # Untrained, W = I adds up its inputs without end; what was learnt is to come to rest at 0.5 + 0.5.
    assert float(found.points.mean()) == pytest.approx(1.0, abs=0.1)
    active = (weight @ found.points[0] + z > 0).double()
    exact = torch.linalg.solve(torch.eye(100) - active[:, None] * weight, active * z)
    torch.testing.assert_close(found.points[0], exact)
    assert linearise_map(jacobian(step, found.points)[0]).stability == "asymptotically stable"
    torch.testing.assert_close(trajectory(step, torch.rand(1, 100), 500)[-1], found.points)


def test_slow_points_are_where_a_saddle_node_has_just_vanished():
    found = slow_points(lambda x: x + x**2 + 0.01, torch.tensor([[1.0], [-0.7]]))
    torch.testing.assert_close(found.points, torch.zeros(1, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.speeds, torch.tensor([0.01]))


def test_a_line_of_fixed_points_has_slow_points_but_no_count():
    shrink = torch.tensor([1.0, 0.5])

    def step(x):
        return shrink * x

    with pytest.raises(UsageError, match=r"singular there, .*not isolated and slow_points"):
        fixed_points(step, torch.randn(5, 2))
    found = slow_points(step, torch.randn(5, 2))
    torch.testing.assert_close(found.points[:, 1], torch.zeros(5), atol=1e-9, rtol=0)
    assert found.speeds.max() < 1e-9


FIELDS = {
    "stable node": [[-1.0, 0], [0, -2]],
    "unstable node": [[1.0, 0], [0, 2]],
    "stable focus": [[-0.1, -1], [1, -0.1]],
    "unstable focus": [[0.1, -1], [1, 0.1]],
    "saddle": [[1.0, 0], [0, -1]],
    "undecided": [[0.0, -1], [1, 0]],
}


@pytest.mark.parametrize("kind", FIELDS)
def test_types_of_equilibria_of_fields_and_of_their_time_one_maps(kind):
    matrix = torch.tensor(FIELDS[kind])
    of_field, of_map = linearise_field(matrix), linearise_map(torch.linalg.matrix_exp(matrix))
    assert of_field.kind == of_map.kind == kind
    assert of_field[1:4] == of_map[1:4]


@pytest.mark.parametrize("cubic", [-1.0, 1.0])
def test_invertible_is_not_hyperbolic_and_higher_orders_decide(cubic):
    field, r0, time = systems.cubic_centre(cubic), 0.5, 1.5
    J = jacobian(field, torch.zeros(1, 2))[0]
    assert torch.linalg.det(J) == 1
    linear = linearise_field(J)
    assert (linear.hyperbolic, linear.stability, linear.kind) == (False, "undecided", "undecided")
    end = trajectory(runge_kutta_4(field, 0.01), torch.tensor([[r0, 0.0]]), 150)[-1].norm()
    # ṙ = c r³ has the solution r₀/√(1 − 2c r₀² t).
    torch.testing.assert_close(float(end), r0 / math.sqrt(1 - 2 * cubic * r0**2 * time), rtol=1e-8, atol=0)


def test_runge_kutta_is_of_fourth_order():
    def error(dt):
        end = trajectory(runge_kutta_4(lambda x: x * (1 - x), dt), torch.tensor([[0.1]]), round(2 / dt))[-1, 0, 0]
        return abs(float(end) - 1 / (1 + 9 * math.exp(-2)))

    assert math.log2(error(0.2) / error(0.1)) == pytest.approx(4, abs=0.15)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fixed_points(torch.tanh, torch.zeros(3)), r"states must be \(B, N\).*add a batch dimension"),
        (lambda: fixed_points(torch.tanh, torch.zeros(1, 3).float()), "starts must be float64"),
        (lambda: equilibria(lambda x: x / 0, torch.ones(1, 2)), r"not finite at the state \[1\.0, 1\.0\]"),
        (lambda: equilibria(lambda x: x * math.nan, torch.ones(1, 2)), "not finite at the state"),
        (lambda: equilibria(lambda x: x[:1], torch.ones(1, 2)), r"to one of the same shape, got \(1,\)"),
        (lambda: linearise_map(torch.ones(2, 3)), r"jacobian must be a square matrix \(N, N\), got shape \(2, 3\)"),
        (lambda: linearise_field(torch.tensor([[math.nan]])), r"jacobian must be finite, got nan at \(0, 0\)"),
        (lambda: systems.tanh_network(torch.ones(2, 3)), r"weight_hh must be a square matrix"),
        (lambda: runge_kutta_4(torch.sin, 0.0), r"dt must be finite and not 0, got 0\.0"),
        (lambda: trajectory(torch.tanh, torch.zeros(1, 1), 0), "steps must be at least 1, got 0"),
        (lambda: grid((0, 0), (1, 0), 3), "lower must be below upper in every coordinate"),
        (lambda: basins(torch.tanh, torch.zeros(1, 2), torch.zeros(4, 2), steps=0), "steps must be at least 1, got 0"),
        (lambda: basins(torch.tanh, torch.zeros(1, 3), torch.zeros(4, 2), steps=5), r"attractors must be \(M, 2\)"),
    ],
)
def test_impossible_arguments(call, message):
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("linearise", [linearise_field, linearise_map])
def test_a_double_centre_is_not_taken_for_a_saddle(linearise, seed):
    """Rounding splits the double eigenvalues ±i of a Jordan block by √ε, to both sides of the boundary."""
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    block = torch.kron(torch.eye(2, dtype=torch.float64), turn)
    block[:2, 2:] = torch.eye(2)
    S = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    S = torch.linalg.qr(S).Q
    assert linearise(S @ block @ S.T).kind == "undecided"


def test_a_centre_in_float32_is_undecided():
    J = torch.tensor([[0.3, -1.3], [1.1, -0.3]])
    assert linearise_field(J).kind == "undecided"


def test_the_scale_of_a_field_does_not_change_its_type():
    J = torch.tensor([[-1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert [linearise_field(scale * J).kind for scale in (1e-12, 1.0, 1e12)] == ["saddle"] * 3


def test_a_step_that_changes_the_size_of_the_state_is_refused():
    with pytest.raises(UsageError, match=r"one state \(2,\) to one of the same shape, got \(1,\)"):
        fixed_points(lambda h: h[:1], torch.zeros(2, 2, dtype=torch.float64))


def test_a_double_eigenvalue_that_rounding_splits_is_a_node():
    jordan = torch.tensor([[-1.0, 1.0], [0.0, -1.0]])
    for _ in range(50):
        S = torch.linalg.qr(torch.randn(2, 2)).Q @ torch.diag(1 + torch.rand(2))
        assert linearise_field(S @ jordan @ torch.linalg.inv(S)).kind == "stable node"
    assert linearise_field(torch.tensor([[-1.0, 0.01], [-0.01, -1.0]])).kind == "stable focus"


def test_where_nothing_is_found_all_starts_are_unconverged():
    found = equilibria(lambda s: s**2 + 1, torch.randn(7, 1))
    assert (len(found.points), len(found.counts), found.unconverged) == (0, 0, 7)


def test_solutions_are_exact_whatever_the_tolerance():
    found = fixed_points(torch.cos, torch.randn(20, 1), tolerance=1e-5, separation=1e-3)
    dottie = 0.7390851332151607
    torch.testing.assert_close(found.points, torch.tensor([[dottie]]), atol=1e-10, rtol=0)


def test_slow_points_come_slowest_first():
    # Two minima of the speed (x² − 1)² + 0.1 − 0.02 x, near ±1.
    found = slow_points(lambda s: s + (s**2 - 1) ** 2 + 0.1 - 0.02 * s, torch.tensor([[-1.2], [1.2], [-0.8]]))
    assert len(found.points) == 2
    assert found.points[0] > 0 > found.points[1]
    assert found.speeds[0] < found.speeds[1]


def test_a_tolerance_too_large_for_the_separation_is_named():
    """cos has one fixed point, at which the Jacobian of cos x − x is −1.67."""
    with pytest.raises(UsageError, match="or tolerance is too large"):
        fixed_points(torch.cos, torch.randn(20, 1), tolerance=1e-3, separation=1e-12)
