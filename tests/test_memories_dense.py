"""Continuous, dense and modern Hopfield networks: energies, limits, and identities that tie them to one another."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from fastweights import memories as m
from fastweights.errors import UsageError

F64 = torch.float64


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patterns(count: int, size: int, *, seed: int = 0) -> Tensor:
    return m.random_signs(count, size, generator=seeded(seed), dtype=F64)


def additive(symmetric: bool) -> m.ContinuousHopfield:
    W = torch.randn(7, 7, generator=seeded(), dtype=F64)
    bias = torch.randn(7, generator=seeded(1), dtype=F64)
    return m.ContinuousHopfield.from_weights(W + W.T if symmetric else W, bias, gain=1.7, time_constant=0.8)


def test_continuous_energy_is_the_printed_integral() -> None:
    network = additive(symmetric=True)
    x = torch.randn(7, generator=seeded(2), dtype=F64)
    v = torch.tanh(1.7 * x)
    integral = sum(quad(lambda u: math.atanh(u) / 1.7, 0, end)[0] for end in v.tolist())
    expected = -0.5 * v @ network.weights @ v - network.bias @ v + integral / 0.8
    assert_close(network.energy(x), expected)
    assert network.energy(torch.full((7,), 1e4, dtype=F64)).isfinite()


def test_continuous_energy_falls_at_the_rate_of_cohen_and_grossberg() -> None:
    network = additive(symmetric=True)
    x = torch.randn(5, 7, generator=seeded(3), dtype=F64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network.energy(x).sum(), x)
    speed = network.field(x)
    slope = 1.7 * (1 - network.output(x) ** 2)
    assert_close((gradient * speed).sum(dim=1), -(slope * speed**2).sum(dim=1))


def test_continuous_energy_falls_along_the_flow_only_if_weights_are_symmetric() -> None:
    start = torch.randn(20, 7, generator=seeded(4), dtype=F64)
    falling = additive(symmetric=True).relax(start, duration=10.0, steps=2000)
    assert falling.energy.diff(dim=0).max() <= 1e-12
    rising = additive(symmetric=False).relax(start, duration=10.0, steps=2000)
    assert rising.energy.diff(dim=0).max() > 1e-3


def test_continuous_network_recalls_and_rests() -> None:
    xi = patterns(4, 80)
    network = m.ContinuousHopfield().store(xi[:2]).store(xi[2:])
    assert_close(network.weights, m.HopfieldNetwork().store(xi).weights)
    flow = network.relax(0.5 * m.flip(xi, 0.2, generator=seeded(1)), duration=40.0, steps=800)
    assert torch.equal(network.output(flow.states[-1]).sign(), xi)
    assert network.field(flow.states[-1]).abs().max() < 1e-9
    assert_close(flow.times, torch.linspace(0, 40, 801, dtype=F64))


def test_continuous_network_without_weights_decays_to_its_bias() -> None:
    bias = torch.tensor([0.3, -0.2], dtype=F64)
    network = m.ContinuousHopfield.from_weights(torch.zeros(2, 2, dtype=F64), bias, time_constant=2.0)
    start = torch.tensor([[1.0, 1.0]], dtype=F64)
    flow = network.relax(start, duration=3.0, steps=300)
    decay = torch.exp(-flow.times / 2)[:, None, None]
    assert_close(flow.states, 2 * bias + decay * (start - 2 * bias), atol=1e-10, rtol=0)


def test_dense_memory_of_second_order_is_the_hopfield_network() -> None:
    xi, probes = patterns(6, 41), patterns(10, 41, seed=1)
    dense, binary = m.DenseHopfield(2).store(xi), m.HopfieldNetwork().store(xi)
    assert_close(dense.energy(probes), 2 * binary.energy(probes) - 6)
    one, other = dense.relax(probes, generator=seeded(2)), binary.relax(probes, generator=seeded(2))
    assert torch.equal(one.state, other.state)
    assert_close(one.energy, 2 * other.energy - 6)


@pytest.mark.parametrize("power", [2, 3, 4, 7])
def test_dense_energy_never_rises_and_is_the_states_own(power: int) -> None:
    memory = m.DenseHopfield(power).store(patterns(30, 40))
    probes = patterns(20, 40, seed=1)
    run = memory.relax(probes, generator=seeded(2))
    assert run.energy.diff(dim=0).max() <= 0
    assert run.energy[-1].mean() < run.energy[0].mean() - 1
    assert_close(run.energy[0], memory.energy(probes))
    assert_close(run.energy[-1], memory.energy(run.state))
    assert (run.period == 1).all()


def test_dense_memory_stores_more_patterns_than_units() -> None:
    xi = patterns(150, 100)
    probes = m.flip(xi[:40], 0.1, generator=seeded(1))

    def recalled(power: int) -> float:
        found = m.DenseHopfield(power).store(xi[:70]).store(xi[70:]).recall(probes, generator=seeded(2))
        return float((found == xi[:40]).all(dim=1).double().mean())

    assert recalled(3) > 0.95
    assert recalled(2) < 0.05


def test_modern_update_is_attention() -> None:
    X = torch.randn(9, 5, generator=seeded(), dtype=F64)
    queries = torch.randn(4, 5, generator=seeded(1), dtype=F64)
    attended = scaled_dot_product_attention(queries, X, X, scale=0.7)
    assert_close(m.ModernHopfield(0.7).store(X[:3]).store(X[3:]).recall(queries), attended)


def test_modern_energy_falls_and_is_stationary_at_fixed_points() -> None:
    memory = m.ModernHopfield(2.0).store(torch.randn(12, 6, generator=seeded(), dtype=F64))
    descent = memory.relax(3 * torch.randn(50, 6, generator=seeded(1), dtype=F64), steps=400)
    assert descent.energy.diff(dim=0).max() <= 1e-12
    assert descent.energy.min() >= 0
    assert (descent.energy[-1] < descent.energy[0]).all()
    end = descent.states[-1].requires_grad_()
    (gradient,) = torch.autograd.grad(memory.energy(end).sum(), end)
    # ∂E/∂ξ = ξ − X softmax(β Xᵀξ): the update is a gradient step of length one.
    assert_close(gradient, end - memory.recall(end))
    assert gradient.norm(dim=1).median() < 1e-9


def test_temperature_decides_between_one_pattern_and_their_mean() -> None:
    X = m.random_unit_vectors(8, 64, generator=seeded(), dtype=F64)
    assert_close(m.ModernHopfield(200.0).store(X).recall(X), X)
    mean = X.mean(dim=0).expand(8, 64)
    assert_close(m.ModernHopfield(1e-9).store(X).recall(X), mean, atol=1e-8, rtol=0)


def test_modern_capacity() -> None:
    c, count = m.modern_capacity(20, inverse_temperature=1.0, radius=3.0, failure_probability=0.001)
    assert c == pytest.approx(3.15461, abs=5e-6)
    assert count == pytest.approx(math.sqrt(0.001) * c ** (19 / 4))
    assert m.modern_capacity(75, radius=1.0).c == pytest.approx(1.37188, abs=5e-6)
    with pytest.raises(UsageError, match="the bound needs c ≥"):
        m.modern_capacity(20, radius=1.0)


def test_powers_that_overflow_are_refused_and_those_that_fit_recall():
    xi = patterns(3, 40)
    with pytest.raises(UsageError, match=r"power = 30 is too large for 3 patterns of 40 units in torch.float32"):
        m.DenseHopfield(30).store(xi.float())
    assert torch.equal(m.DenseHopfield(30).store(xi.double()).recall(xi.double()), xi.double())


@pytest.mark.parametrize("power", [2, 3, 4, 7])
def test_the_energy_of_one_stored_pattern_is_minus_n(power: int) -> None:
    xi = patterns(1, 40)
    memory = m.DenseHopfield(power).store(xi)
    assert_close(memory.energy(xi), torch.tensor([-40.0], dtype=F64))
    assert_close(memory.energy(-xi), torch.tensor([-40.0 * (-1) ** power], dtype=F64))


def test_a_probe_that_still_changed_has_no_period() -> None:
    xi = patterns(1, 40)
    run = m.DenseHopfield().store(xi).relax(torch.cat([xi, m.flip(xi, 0.1, generator=seeded(1))]), max_sweeps=1)
    assert run.period.tolist() == [1, 0]


@pytest.mark.parametrize("β", [0.3, 2.0])
def test_modern_energy_at_zero_and_of_one_pattern(β: float) -> None:
    X = torch.randn(12, 6, generator=seeded(), dtype=F64)
    largest = 0.5 * (X**2).sum(dim=1).max()
    # At ξ = 0 all exponentials are one, so that the logarithms cancel.
    assert_close(m.ModernHopfield(β).store(X).energy(torch.zeros(6)), largest)
    queries = torch.randn(5, 6, generator=seeded(1), dtype=F64)
    alike = m.ModernHopfield(β).store(X[:1].expand(3, 6))
    assert_close(alike.energy(queries), 0.5 * ((queries - X[0]) ** 2).sum(dim=1))
