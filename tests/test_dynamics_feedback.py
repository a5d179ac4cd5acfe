"""The single-loop feedback system against its closed forms, in every regime of its weight."""

import math

import pytest
import torch

from fastweights import UsageError
from fastweights.dynamics import (
    impulse_response,
    noise_response,
    regime,
    simulate,
    stationary_response,
    step_response,
)

pytestmark = pytest.mark.usefixtures("float64")
WEIGHTS = [0.0, 0.5, 0.9, 1.0, 1.3, -0.5, -1.0, -1.3]


@pytest.mark.parametrize("w", WEIGHTS)
def test_impulse_and_step_are_answered_by_the_closed_forms(w):
    weight, impulse = torch.tensor([w]), torch.zeros(1, 12)
    impulse[0, 0] = 1
    torch.testing.assert_close(simulate(weight, impulse)[0], torch.tensor([impulse_response(w, n) for n in range(12)]))
    steps = torch.tensor([step_response(w, n) for n in range(12)])
    torch.testing.assert_close(simulate(weight, torch.ones(1, 12))[0], steps)


def test_the_step_response_at_one_is_the_time():
    assert [step_response(1.0, n) for n in range(4)] == [1, 2, 3, 4]


def test_minus_one_is_a_bounded_two_cycle():
    assert [step_response(-1.0, n) for n in range(4)] == [-1, 0, -1, 0]


def test_the_series_is_the_loop_for_weights_outside_the_circle_too():
    weights, inputs, before = torch.tensor(WEIGHTS), torch.randn(len(WEIGHTS), 9), torch.randn(len(WEIGHTS))
    powers = weights[:, None] ** torch.arange(1, 10)
    last = (powers * inputs.flip(1)).sum(1) + weights**9 * before
    torch.testing.assert_close(simulate(weights, inputs, before)[:, -1], last)


def test_superposition_is_what_makes_it_linear():
    w, x, y = torch.tensor([0.7]), torch.randn(1, 20), torch.randn(1, 20)
    torch.testing.assert_close(simulate(w, 2 * x - 3 * y), 2 * simulate(w, x) - 3 * simulate(w, y))


@pytest.mark.parametrize("w", WEIGHTS)
def test_the_moments_of_noise_are_those_of_many_runs(w):
    runs, n, mean, deviation = 40_000, 7, 0.4, 0.6
    last = simulate(torch.tensor([w]).expand(runs), mean + deviation * torch.randn(runs, n + 1))[:, n]
    expected = noise_response(w, mean, deviation**2, n)
    # Four standard errors of a mean and of a Gaussian variance.
    assert abs(last.mean() - expected.mean) <= 4 * math.sqrt(expected.variance / runs)
    assert abs(last.var() - expected.variance) <= 4 * expected.variance * math.sqrt(2 / runs)


def test_the_variance_at_plus_and_minus_one_grows_with_time():
    for w in (1.0, -1.0):
        assert noise_response(w, 0.0, 2.0, 9).variance == 20
    assert noise_response(1.0, 0.0, 2.0, 9).mean == 0, "no mean, no linear trend"


@pytest.mark.parametrize("w", [0.5, -0.9])
def test_the_noise_settles_to_the_stationary_response_inside_the_circle(w):
    assert noise_response(w, 0.3, 2.0, 500) == pytest.approx(stationary_response(w, 0.3, 2.0), rel=1e-14)
    assert stationary_response(w, 0.3, 2.0) == pytest.approx((0.3 * w / (1 - w), 2 * w**2 / (1 - w**2)))


def test_every_regime_has_a_name_that_its_impulse_response_earns():
    for w in WEIGHTS:
        response = [impulse_response(w, n) for n in range(30)]
        name = regime(w)
        alternates = response[0] * response[1] < 0
        assert alternates == (name.startswith("alternating") or name == "2-cycle")
        assert (abs(response[-1]) < abs(response[0])) == name.endswith("decay")
        assert (abs(response[-1]) > abs(response[0])) == name.endswith("growth")
        assert (abs(response[-1]) == 1) == (name in ("linear trend", "2-cycle"))


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regime(math.nan), "weight must be finite, got nan"),
        (lambda: step_response(0.5, -1), "n must be at least 0, got -1"),
        (lambda: noise_response(0.5, 0.0, -1.0, 3), r"variance must be finite and at least 0, got -1\.0"),
        (lambda: stationary_response(-1.0, 0.0, 1.0), r"weight must lie inside \(−1, 1\).*got -1\.0"),
        (lambda: simulate(torch.ones(2), torch.ones(3, 4)), r"inputs must be \(B, T\) and weight \(B,\)"),
    ],
)
def test_impossible_arguments(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_growth_beyond_the_floats_is_infinite():
    assert impulse_response(2.0, 5000) == math.inf
    assert impulse_response(-2.0, 5000) == -math.inf
    assert noise_response(3.0, 0.5, 1.0, 5000).variance == math.inf


def test_alternating_growth_beyond_the_floats():
    assert [impulse_response(-2.0, n) for n in (5000, 5001)] == [-math.inf, math.inf]


def test_what_has_no_noise_or_no_mean_has_none_however_the_loop_grows():
    assert noise_response(3.0, 0.0, 1.0, 5000) == (0, math.inf)
    assert noise_response(3.0, 0.5, 0.0, 5000) == (math.inf, 0)
    assert noise_response(1e200, 0.5, 1.0, 3).variance == math.inf


def test_what_floats_hold_does_not_overflow_on_the_way():
    assert [step_response(weight, 0) for weight in (1e200, -1e200)] == [1e200, -1e200]
    assert noise_response(1e80, 1.0, 1.0, 0) == (1e80, 1e160)
