"""Rank conditions and Gramians against systems solved by hand."""

import math

import pytest
import torch

from fastweights import UsageError
from fastweights.dynamics import (
    controllability_matrix,
    controllable_rank,
    gramian_of_flow,
    gramian_of_map,
    linearise_driven,
    observability_matrix,
    observable_rank,
)

pytestmark = pytest.mark.usefixtures("float64")
INTEGRATOR = torch.tensor([[0.0, 1], [0, 0]], dtype=torch.float64)
PUSH = torch.tensor([[0.0], [1]], dtype=torch.float64)


def test_the_double_integrator_is_controllable_by_force_and_observable_by_position():
    assert torch.equal(controllability_matrix(INTEGRATOR, PUSH), torch.tensor([[0.0, 1], [1, 0]]))
    assert controllable_rank(INTEGRATOR, PUSH) == 2
    position, velocity = torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])
    assert torch.equal(observability_matrix(INTEGRATOR, position), torch.eye(2))
    assert observable_rank(INTEGRATOR, position) == 2
    assert observable_rank(INTEGRATOR, velocity) == 1
    t = 3.0
    torch.testing.assert_close(
        gramian_of_flow(INTEGRATOR, PUSH, horizon=t), torch.tensor([[t**3 / 3, t**2 / 2], [t**2 / 2, t]])
    )


def test_the_rank_is_the_dimension_that_the_input_reaches():
    torch.manual_seed(1)
    basis = torch.linalg.qr(torch.randn(7, 7)).Q
    A = torch.zeros(7, 7)
    A[:4, :4], A[:4, 4:], A[4:, 4:] = torch.randn(4, 4), torch.randn(4, 3), torch.randn(3, 3)
    B = torch.cat((torch.randn(4, 1), torch.zeros(3, 1)))
    assert controllable_rank(basis @ A @ basis.T, basis @ B) == 4


def test_the_rank_survives_where_powers_of_a_matrix_align():
    A, B = torch.diag(torch.arange(1.0, 31.0)), torch.ones(30, 1)
    assert controllable_rank(A, B) == 30, "distinct eigenvalues, each of them driven"
    assert torch.linalg.matrix_rank(controllability_matrix(A, B)) < 30, (
        "the Kalman matrix itself is too ill-conditioned"
    )


def test_infinite_gramians_solve_their_lyapunov_equations():
    A, B = torch.randn(6, 6), torch.randn(6, 2)
    stable = A - 4 * torch.eye(6)
    G = gramian_of_flow(stable, B)
    torch.testing.assert_close(stable @ G + G @ stable.T, -B @ B.T)
    torch.testing.assert_close(gramian_of_flow(stable, B, horizon=30.0), G)
    small = A / 6
    H = gramian_of_map(small, B)
    torch.testing.assert_close(small @ H @ small.T - H, -B @ B.T)
    torch.testing.assert_close(gramian_of_map(small, B, steps=400), H)


def test_the_gramian_prices_the_cheapest_way_to_a_state():
    A, B, steps, goal = torch.randn(3, 3) / 2, torch.randn(3, 1), 8, torch.randn(3)
    reach = torch.cat([torch.linalg.matrix_power(A, steps - 1 - k) @ B for k in range(steps)], dim=1)
    u = torch.linalg.lstsq(reach, goal, driver="gelsd").solution
    state = torch.zeros(3)
    for k in range(steps):
        state = A @ state + B[:, 0] * u[k]
    torch.testing.assert_close(state, goal)
    price = goal @ torch.linalg.solve(gramian_of_map(A, B, steps=steps), goal)
    torch.testing.assert_close(u.square().sum(), price)


def test_a_pendulum_linearised_upright_and_hanging():
    def pendulum(x, u):
        return torch.stack((x[1], torch.sin(x[0]) + u[0]))

    up = linearise_driven(pendulum, torch.zeros(2), torch.zeros(1))
    torch.testing.assert_close(up.A, torch.tensor([[0.0, 1], [1, 0]]))
    down = linearise_driven(pendulum, torch.tensor([math.pi, 0.0]), torch.zeros(1))
    torch.testing.assert_close(down.A, torch.tensor([[0.0, 1], [-1, 0]]))
    assert controllable_rank(*up) == controllable_rank(*down) == 2


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: controllable_rank(torch.ones(2, 3), PUSH), "A must be a square matrix"),
        (lambda: controllability_matrix(INTEGRATOR, torch.ones(3, 1)), r"B must be \(2, M\) to fit A"),
        (lambda: gramian_of_flow(INTEGRATOR, PUSH), "A must have eigenvalues of negative real part"),
        (
            lambda: gramian_of_map(torch.eye(2, dtype=torch.float64), PUSH),
            "A must have eigenvalues inside the unit circle",
        ),
        (lambda: gramian_of_flow(INTEGRATOR, PUSH, horizon=-1.0), r"horizon must be positive and finite.*got -1\.0"),
        (lambda: gramian_of_map(INTEGRATOR, PUSH, steps=0), "steps must be at least 1"),
        (lambda: gramian_of_map(INTEGRATOR, PUSH * math.nan), r"B must be finite, got nan at \(0, 0\)"),
    ],
)
def test_impossible_arguments(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_rank_in_float32_sees_the_uncontrollable_modes():
    """Six modes in a random basis, two of them without input: rounding must not count as reaching them."""
    draw = torch.Generator().manual_seed(1)
    S = torch.randn(6, 6, generator=draw)
    A = S @ torch.diag(torch.arange(1.0, 7.0)) @ torch.linalg.inv(S)
    B = S @ torch.tensor([[1.0], [1.0], [1.0], [1.0], [0.0], [0.0]])
    assert controllable_rank(A, B) == 4


@pytest.mark.parametrize("of_a", [1e-150, 1.0, 1e150])
@pytest.mark.parametrize("of_b", [1e-150, 1.0, 1e150])
def test_units_do_not_change_the_rank(of_a, of_b):
    A, B = torch.diag(torch.arange(1.0, 5.0)), torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    assert controllable_rank(of_a * A, of_b * B) == 3


def test_the_tolerance_decides_what_is_reached():
    A, B = torch.tensor([[1.0, 0.0], [1e-3, 1.0]]), torch.tensor([[1.0], [0.0]])
    assert [controllable_rank(A, B), controllable_rank(A, B, tolerance=1e-2)] == [2, 1]
