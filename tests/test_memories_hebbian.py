"""Hebbian rules: steps against the flows that they tend to, and where they end."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fastweights import memories as m
from fastweights.memories.learning import Rule, correlation

F64 = torch.float64


@pytest.fixture
def inputs() -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(40, 4, generator=g, dtype=F64) * torch.tensor([1.4, 1.0, 0.7, 0.4], dtype=F64)


@pytest.fixture
def weights() -> Tensor:
    return torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=F64)


def leading_eigenvectors(C: Tensor, count: int) -> Tensor:
    return torch.linalg.eigh(C).eigenvectors.T.flip(0)[:count]


def test_plain_hebb_multiplies_the_weights_by_the_correlation_matrix_from_the_right(
    inputs: Tensor, weights: Tensor
) -> None:
    C = correlation(inputs)
    assert_close(m.hebb(weights, inputs), weights @ C)
    assert_close(m.hebb(weights, inputs).T, C @ weights.T)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        C @ weights


def test_zero_weights_learn_nothing_by_plain_hebb(inputs: Tensor) -> None:
    assert not m.learn(m.hebb, torch.zeros(2, 4, dtype=F64), inputs, learning_rate=0.1).any()


def test_averaged_steps_have_a_closed_form_and_tend_to_the_flow_at_first_order(inputs: Tensor, weights: Tensor) -> None:
    C = correlation(inputs)
    gaps = []
    for steps in (200, 400):
        rate = 1 / steps
        path = m.learn(m.hebb, weights, inputs, learning_rate=rate, epochs=steps, batch_size=None)
        factor = torch.eye(4, dtype=F64) + rate * C
        assert_close(path[-1], weights @ torch.linalg.matrix_power(factor, steps))
        flow = m.integrate(m.hebb, weights, inputs, duration=1.0, steps=steps)
        assert len(path) == len(flow) == steps + 1
        gaps.append(float((path - flow).norm(dim=(1, 2)).max()))
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.02)


def test_steps_on_single_samples_tend_to_the_same_flow(inputs: Tensor, weights: Tensor) -> None:
    flow = m.hebb_flow(weights, correlation(inputs), 1.0)
    gaps = [
        float((m.learn(m.hebb, weights, inputs, learning_rate=1 / (40 * epochs), epochs=epochs)[-1] - flow).norm())
        for epochs in (40, 80)
    ]
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.05)


def test_integration_is_of_fourth_order(inputs: Tensor, weights: Tensor) -> None:
    exact = m.hebb_flow(weights, correlation(inputs), 1.0)
    gaps = [float((m.integrate(m.hebb, weights, inputs, duration=1.0, steps=n)[-1] - exact).norm()) for n in (20, 40)]
    assert math.log2(gaps[0] / gaps[1]) == pytest.approx(4, abs=0.1)


def test_plain_hebb_diverges_along_the_leading_eigenvector(inputs: Tensor, weights: Tensor) -> None:
    C = correlation(inputs)
    path = m.learn(m.hebb, weights, inputs, learning_rate=0.1, epochs=400, batch_size=None)
    growth = path[-1].norm() / path[-2].norm()
    assert_close(growth, 1 + 0.1 * torch.linalg.eigvalsh(C)[-1])
    direction = path[-1][0] / path[-1][0].norm()
    assert abs(float(direction @ leading_eigenvectors(C, 1)[0])) == pytest.approx(1)


def test_decay_decides_between_vanishing_and_divergence_at_the_leading_eigenvalue(
    inputs: Tensor, weights: Tensor
) -> None:
    C = correlation(inputs)
    largest = float(torch.linalg.eigvalsh(C)[-1])
    for decay, growth in ((largest + 0.1, -0.1), (largest - 0.1, 0.1)):
        rule = m.DecayingHebb(decay)
        late, later = m.learn(rule, weights, inputs, learning_rate=0.1, epochs=600, batch_size=None)[-2:]
        assert float(later.norm() / late.norm()) == pytest.approx(1 + 0.1 * growth, abs=1e-9)
    e = leading_eigenvectors(C, 1)
    assert_close(m.hebb_flow(weights, C, 200.0, decay=largest), weights @ e.T @ e)


def test_oja_flow_solves_its_differential_equation(inputs: Tensor, weights: Tensor) -> None:
    C = correlation(inputs)
    assert_close(m.oja_flow(weights, C, 0.0), weights, atol=1e-13, rtol=0)
    for moment in (0.3, 2.0):
        # The flow property carries w(t) as a new start, and the derivative at the start is a five-point difference.
        w = m.oja_flow(weights, C, moment)
        assert_close(m.oja_flow(w, C, 1.1), m.oja_flow(weights, C, moment + 1.1), atol=1e-12, rtol=0)
        h = 1e-3
        ahead = [m.oja_flow(weights, C, moment + k * h) for k in (-2, -1, 1, 2)]
        derivative = (ahead[0] - 8 * ahead[1] + 8 * ahead[2] - ahead[3]) / (12 * h)
        assert_close(derivative, m.oja(w, inputs), atol=1e-9, rtol=0)


def test_oja_flow_agrees_with_integration_to_rounding(inputs: Tensor, weights: Tensor) -> None:
    path = m.integrate(m.oja, weights, inputs, duration=1.0, steps=2000)
    assert_close(path[-1], m.oja_flow(weights, correlation(inputs), 1.0), atol=1e-12, rtol=0)


def test_oja_ends_at_the_leading_unit_eigenvector(inputs: Tensor, weights: Tensor) -> None:
    C = correlation(inputs)
    e = leading_eigenvectors(C, 1)
    for end in (
        m.learn(m.oja, weights, inputs, learning_rate=0.1, epochs=800, batch_size=None)[-1],
        m.oja_flow(weights, C, 1e6),
    ):
        assert_close(end, (weights @ e.T).sign() @ e)


def test_sanger_finds_the_eigenvectors_in_order_where_oja_finds_the_first_twice(
    inputs: Tensor, weights: Tensor
) -> None:
    expected = leading_eigenvectors(correlation(inputs), 2)
    end = m.learn(m.sanger, weights, inputs, learning_rate=0.1, epochs=3000, batch_size=None)[-1]
    assert_close(end @ expected.T, torch.diag((end * expected).sum(dim=1).sign()), atol=1e-9, rtol=0)
    both_oja = m.learn(m.oja, weights, inputs, learning_rate=0.1, epochs=3000, batch_size=None)[-1]
    assert abs(float(both_oja[0] @ both_oja[1])) == pytest.approx(1)


def test_bcm_becomes_selective() -> None:
    g = torch.Generator().manual_seed(3)
    stimuli = torch.randn(3, 3, generator=g, dtype=F64) + 2 * torch.eye(3, dtype=F64)
    weights = torch.rand(8, 3, generator=g, dtype=F64)
    end = m.learn(m.bcm, weights, stimuli, learning_rate=0.02, epochs=6000, batch_size=None)[-1]
    responses = (end @ stimuli.T).sort(dim=1).values
    assert_close(responses, torch.tensor([0.0, 0.0, 3.0], dtype=F64).expand(8, 3), atol=1e-8, rtol=0)


@pytest.mark.parametrize("rule", [m.hebb, m.DecayingHebb(0.3), m.oja, m.sanger, m.bcm])
def test_every_rule_is_an_average_over_its_inputs(rule: Rule, inputs: Tensor, weights: Tensor) -> None:
    assert_close(rule(weights, inputs.repeat(3, 1)), rule(weights, inputs))


def test_oja_flow_of_special_rows_for_long_times():
    """The zero row stays, and a row without the leading component tends to its own largest one."""
    C = torch.diag(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
    start = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.3, 0.4]], dtype=torch.float64)
    expected = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    assert torch.allclose(m.oja_flow(start, C, 1000.0), expected, rtol=0, atol=1e-12)


def test_batches_hold_what_was_asked_for() -> None:
    g = torch.Generator().manual_seed(0)
    inputs, weights = torch.randn(40, 4, generator=g, dtype=F64), torch.randn(2, 4, generator=g, dtype=F64)
    path = m.learn(m.oja, weights, inputs, learning_rate=0.1, batch_size=15)
    assert len(path) == 1 + 3
    for step, batch in enumerate(inputs.split(15)):
        assert_close(path[step + 1] - path[step], 0.1 * m.oja(path[step], batch))


def test_the_flow_of_hebb_runs_backwards() -> None:
    g = torch.Generator().manual_seed(0)
    C, weights = correlation(torch.randn(40, 4, generator=g, dtype=F64)), torch.randn(2, 4, generator=g, dtype=F64)
    there = m.hebb_flow(weights, C, 1.5, decay=0.3)
    assert_close(m.hebb_flow(there, C, -1.5, decay=0.3), weights)
