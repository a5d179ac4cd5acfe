"""Linear associators, the decaying memory and the delta rule against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fastweights import memories as m
from fastweights.kernels import fast_weights
from fastweights.memories.base import Kind

F64 = torch.float64


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def within_standard_errors(samples: list[float], expected: float, limit: float = 4.0) -> bool:
    """Whether the mean of independent samples is as far from `expected` as chance allows."""
    values = torch.tensor(samples, dtype=F64)
    return abs(float(values.mean()) - expected) < limit * float(values.std()) / math.sqrt(len(values))


def pairs(count: int, size: int = 12, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = seeded(seed)
    return torch.randn(count, size, generator=g, dtype=F64), torch.randn(count, 5, generator=g, dtype=F64)


def test_correlation_recall_is_exact_for_orthonormal_keys_and_scaled_for_orthogonal_ones() -> None:
    _, values = pairs(7)
    orthonormal = torch.linalg.qr(torch.randn(12, 7, generator=seeded(1), dtype=F64)).Q.T
    assert_close(m.CorrelationMemory().store(orthonormal, values).recall(orthonormal), values)
    length = torch.arange(1.0, 8.0, dtype=F64)[:, None]
    recalled = m.CorrelationMemory(0.5).store(length * orthonormal, values).recall(length * orthonormal)
    assert_close(recalled, 0.5 * length**2 * values)


def test_crosstalk_has_the_predicted_variance() -> None:
    units, items, samples = 100, 31, []
    for seed in range(40):
        g = seeded(seed)
        keys = m.random_unit_vectors(items, units, generator=g, dtype=F64)
        values = m.random_signs(items, units, generator=g, dtype=F64)
        noise = m.CorrelationMemory().store(keys, values).recall(keys) - values
        samples.append(float(noise.var(correction=0)))
    assert m.crosstalk_variance(items, units) == 0.3
    assert within_standard_errors(samples, 0.3)
    assert not within_standard_errors(samples, (items + 1) / units)


@pytest.mark.parametrize("items", [41, 101, 201])
def test_bit_error_follows_the_error_function(items: int) -> None:
    # An odd number of ±1 terms never sums to zero, so that there are no ties to settle.
    samples = [
        float(m.capacity_curve(m.CorrelationMemory, 201, [items], kind="heteroassociative", generator=seeded(s))[1])
        for s in range(12)
    ]
    assert within_standard_errors(samples, m.bit_error(items, 201))


def test_capacity_curve_reports_load_and_whole_patterns() -> None:
    curve = m.capacity_curve(m.CorrelationMemory, 64, [1, 16, 64], trials=3, generator=seeded())
    assert curve.load.tolist() == [m.load(count, 64) for count in (1, 16, 64)]
    assert curve.bit_error[0] == 0
    assert curve.perfect[0] == 1
    single_bits_right = (1 - curve.bit_error) ** 64
    # The bits of one recalled pattern share their crosstalk's keys only, so whole patterns survive about as often.
    assert (curve.perfect - single_bits_right).abs().max() < 0.15


@pytest.mark.parametrize(("damage", "signal"), [(m.flip, 0.5), (m.erase, 0.75)])
def test_damaged_keys_recall_a_weaker_value(damage: type, signal: float) -> None:
    key = m.random_signs(1, 200, generator=seeded(), dtype=F64) / math.sqrt(200)
    value = m.random_signs(1, 30, generator=seeded(1), dtype=F64)
    memory = m.CorrelationMemory().store(key, value)
    # 1 − 2q of the key's projection survives a fraction q of flipped signs, 1 − q of it one of erased entries.
    assert_close(memory.recall(damage(key, 0.25, generator=seeded(2))), signal * value)


def test_pseudo_inverse_recalls_independent_keys_exactly_and_solves_least_squares_otherwise() -> None:
    keys, values = pairs(12)
    assert_close(m.PseudoInverseMemory().store(keys, values).recall(keys), values, atol=1e-10, rtol=0)
    keys, values = pairs(20)
    expected = torch.linalg.lstsq(keys, values).solution.T
    assert_close(m.PseudoInverseMemory().store(keys, values).weights, expected)


def test_projection_lets_the_share_s_over_n_of_a_distortion_through() -> None:
    units, items = 80, 20
    keys = torch.randn(items, units, generator=seeded(), dtype=F64)
    memory = m.PseudoInverseMemory().store(keys)
    noise = torch.randn(3000, units, generator=seeded(1), dtype=F64)
    passed = memory.recall(keys[0] + noise) - keys[0]
    shares = (passed.norm(dim=1) / noise.norm(dim=1)) ** 2
    assert within_standard_errors(shares.tolist(), items / units)


def test_incremental_rule_equals_the_pseudo_inverse_after_every_pair() -> None:
    keys, values = pairs(18, size=9)
    keys[3] = 0.5 * keys[0] - keys[2]
    keys[6] = keys[1]
    incremental = m.IncrementalMemory()
    for count in range(1, 19):
        incremental.store(keys[count - 1 : count], values[count - 1 : count])
        expected = m.PseudoInverseMemory().store(keys[:count], values[:count]).weights
        assert_close(incremental.weights, expected, atol=1e-9, rtol=0)


def test_incremental_rule_tells_dependent_keys_in_single_precision() -> None:
    keys, values = (x.float() for x in pairs(30, size=9))
    expected = m.PseudoInverseMemory().store(keys, values).weights
    assert_close(m.IncrementalMemory().store(keys, values).weights, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "make", [m.CorrelationMemory, m.PseudoInverseMemory, m.IncrementalMemory, m.DecayingMemory, m.DeltaMemory]
)
def test_storing_in_two_calls_equals_storing_in_one(make: type) -> None:
    keys, values = pairs(8)
    once = make().store(keys, values)
    twice = make().store(keys[:3], values[:3]).store(keys[3:], values[3:])
    assert_close(twice.weights, once.weights)
    assert once.weights.dtype == F64


def test_decaying_memory_is_the_fast_weight_matrix_of_the_recurrence() -> None:
    z = torch.randn(1, 9, 6, generator=seeded(), dtype=F64)
    weight = torch.randn(6, 6, generator=seeded(1), dtype=F64) / 4
    out, state = fast_weights(
        z, weight, torch.ones(6, dtype=F64), torch.zeros(6, dtype=F64), decay=0.9, fast_learning_rate=0.5
    )
    assert_close(m.DecayingMemory(0.9, 0.5).store(out[0]).weights, state.fast_weights[0])


@pytest.mark.parametrize("kind", ["autoassociative", "heteroassociative"])
@pytest.mark.parametrize("age", [0, 7])
def test_signal_to_noise_by_age(kind: Kind, age: int) -> None:
    units, items, decay = 50, 120, 0.95
    samples = []
    for seed in range(300):
        g = seeded(seed)
        keys = m.random_signs(items, units, generator=g, dtype=F64)
        values = keys if kind == "autoassociative" else m.random_signs(items, units, generator=g, dtype=F64)
        memory = m.DecayingMemory(decay, 1 / units).store(keys, values)
        error = memory.recall(keys[-1 - age]) - decay**age * values[-1 - age]
        samples.append(float((error**2).mean()))
    ratio = m.signal_to_noise(decay, units, age, items=items, kind=kind)
    assert within_standard_errors(samples, decay ** (2 * age) / ratio)


def test_signal_to_noise_of_the_newest_of_many_items() -> None:
    assert m.signal_to_noise(0.95, 200, 0, kind="autoassociative") == pytest.approx(18.157, abs=5e-4)
    # Without decay the memory is the correlation memory.
    plain = m.signal_to_noise(1.0, 200, 5, items=41, kind="heteroassociative")
    assert plain == pytest.approx(1 / m.crosstalk_variance(41, 200))
    assert m.signal_to_noise(0.9, 10, 0, items=1, kind="heteroassociative") == math.inf


def test_window_is_the_crosstalk_of_all_ages_together() -> None:
    assert m.window(0.95) == pytest.approx(sum(0.95 ** (2 * age) for age in range(2000)), rel=1e-12)


def test_delta_rule_overwrites_where_correlation_adds() -> None:
    key = m.random_unit_vectors(1, 10, generator=seeded(), dtype=F64)
    old, new = pairs(2)[1][:, None]
    assert_close(m.DeltaMemory().store(key, old).store(key, new).recall(key), new)
    assert_close(m.CorrelationMemory().store(key, old).store(key, new).recall(key), old + new)


def test_delta_rule_converges_to_the_pseudo_inverse_and_diverges_beyond_its_step_limit() -> None:
    keys = m.random_unit_vectors(6, 12, generator=seeded(), dtype=F64)
    values = pairs(6)[1]
    expected = m.PseudoInverseMemory().store(keys, values).weights
    assert_close(m.DeltaMemory(1.0, epochs=300).store(keys, values).weights, expected, atol=1e-9, rtol=0)
    error = values[:1] - m.DeltaMemory(2.1, epochs=100).store(keys[:1], values[:1]).recall(keys[:1])
    # The error of one key is multiplied by 1 − η‖f‖² = −1.1 each time.
    assert_close(error, 1.1**100 * values[:1])


def test_delta_net_reads_the_delta_memory_after_every_write() -> None:
    g = seeded()
    queries, keys, values = (torch.randn(2, 7, n, generator=g, dtype=F64) for n in (4, 4, 3))
    rates = torch.rand(2, 7, generator=g, dtype=F64)
    out = m.delta_net(queries, keys, values, rates)
    for b in range(2):
        weights = torch.zeros(3, 4, dtype=F64)
        for t in range(7):
            k, v = keys[b, t], values[b, t]
            weights = weights + rates[b, t] * torch.outer(v - weights @ k, k)
            assert_close(out[b, t], weights @ queries[b, t])
    inputs = tuple(x.requires_grad_() for x in (queries, keys, values, rates))
    assert torch.autograd.gradcheck(m.delta_net, inputs)


def test_distorted_keys_are_what_is_recalled_from() -> None:
    curve = m.capacity_curve(m.CorrelationMemory, 64, [1], distort=torch.neg, generator=seeded())
    assert (curve.bit_error.tolist(), curve.perfect.tolist()) == ([1.0], [0.0])


def test_trials_are_averaged() -> None:
    g, settings = seeded(), {"kind": "heteroassociative", "trials": 1}
    alone = [m.capacity_curve(m.CorrelationMemory, 21, [15], generator=g, **settings)[1] for _ in range(3)]
    together = m.capacity_curve(m.CorrelationMemory, 21, [15], generator=seeded(), **settings | {"trials": 3})[1]
    assert len({float(error) for error in alone}) == 3
    assert_close(together, torch.stack(alone).mean(dim=0))


def test_the_incremental_rule_has_no_scale() -> None:
    keys, values = pairs(18, size=9)
    keys[3] = 0.5 * keys[0] - keys[2]
    weights = m.IncrementalMemory().store(keys, values).weights
    for scale in (1e-12, 1e12):
        assert_close(scale * m.IncrementalMemory().store(scale * keys, values).weights, weights)


def test_the_tolerance_decides_which_keys_are_dependent() -> None:
    keys, values = torch.tensor([[1.0, 0.0], [1.0, 0.3]], dtype=F64), torch.eye(2, dtype=F64)
    assert_close(m.IncrementalMemory(0.2).store(keys, values).recall(keys), values)
    # ‖c‖ = 0.3 ≤ 0.5 ‖f‖: what is left is least squares along the first key, ½ of each value.
    merged = m.IncrementalMemory(0.5).store(keys, values).weights
    assert_close(merged, torch.tensor([[0.5, 0.0], [0.5, 0.0]], dtype=F64))


def test_one_pair_has_no_crosstalk() -> None:
    assert m.bit_error(1, 10) == m.crosstalk_variance(1, 10) == 0


def test_without_memory_the_newest_pair_alone_is_left() -> None:
    keys, values = pairs(4)
    assert_close(m.DecayingMemory(0.0, 0.5).store(keys, values).weights, 0.5 * torch.outer(values[-1], keys[-1]))
    assert m.window(0.0) == 1
