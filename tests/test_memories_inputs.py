"""Bad input to any memory is one UsageError that names the argument; good input comes in any array-like form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from fastweights import memories as m
from fastweights.errors import UsageError

NAN = float("nan")
GOOD = [[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]]
ALL: list[Callable[[], object]] = [
    m.CorrelationMemory,
    m.PseudoInverseMemory,
    m.IncrementalMemory,
    m.DecayingMemory,
    m.DeltaMemory,
    m.HopfieldNetwork,
    m.ContinuousHopfield,
    m.DenseHopfield,
    m.ModernHopfield,
]
BINARY = [m.HopfieldNetwork, m.ContinuousHopfield, m.DenseHopfield]


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([[1.0, -1.0], [1.0]], "rows all have one length"),
        ([["a", "b"]], "array of numbers"),
        ([[1.0, NAN]], "be finite"),
        ([[1.0, float("inf")]], "be finite"),
        ([1.0, -1.0], "one vector a row"),
        ([[]], "at least one entry"),
        (np.array([[1 + 1j]]), "be real"),
    ],
)
def test_store_refuses(make: type, patterns: object, message: str) -> None:
    with pytest.raises(UsageError, match=f"^(keys|patterns) must .*{message}"):
        make().store(patterns)


@pytest.mark.parametrize("make", ALL)
def test_store_refuses_patterns_of_another_length_and_recall_an_empty_memory(make: type) -> None:
    with pytest.raises(UsageError, match="call store before recall"):
        make().recall(GOOD)
    memory = make().store(GOOD)
    with pytest.raises(UsageError, match="must have 3 entries in its last dimension"):
        memory.store([[1.0, -1.0]])
    with pytest.raises(UsageError, match="must have 3 entries in its last dimension"):
        memory.recall([[1.0, -1.0]])
    with pytest.raises(UsageError, match="must be finite"):
        memory.recall([[1.0, -1.0, NAN]])


@pytest.mark.parametrize("make", ALL)
def test_a_refused_store_leaves_the_memory_as_it_was(make: type) -> None:
    memory = make().store(GOOD)
    before = memory.recall(GOOD)
    with pytest.raises(UsageError):
        memory.store([[1.0, -1.0, NAN]])
    assert_close(memory.recall(GOOD), before)


@pytest.mark.parametrize("make", BINARY)
def test_binary_memories_refuse_other_values(make: type) -> None:
    with pytest.raises(UsageError, match="patterns must consist of −1 and \\+1, but contains 0; map 0/1 patterns"):
        make().store([[1.0, 0.0]])


def test_hopfield_probes_may_have_gaps_but_no_other_values() -> None:
    network = m.HopfieldNetwork().store(GOOD)
    with pytest.raises(UsageError, match="probes must consist of −1, \\+1 and 0"):
        network.recall([[0.5, 1.0, 1.0]])
    with pytest.raises(UsageError, match="probes must consist of −1 and \\+1"):
        m.DenseHopfield().store(GOOD).recall([[0.0, 1.0, 1.0]])


@pytest.mark.parametrize("make", [m.HopfieldNetwork.from_weights, m.ContinuousHopfield.from_weights])
def test_weights_must_be_square_and_finite(make: Callable[[object], object]) -> None:
    with pytest.raises(UsageError, match=r"weights must be square, got shape \(2, 3\)"):
        make(GOOD)
    with pytest.raises(UsageError, match="weights must be finite"):
        make([[NAN]])


def test_pairs_must_match() -> None:
    with pytest.raises(UsageError, match="2 keys and 1 values"):
        m.CorrelationMemory().store(GOOD, [[1.0]])
    memory = m.CorrelationMemory().store(GOOD, [[1.0], [2.0]])
    with pytest.raises(UsageError, match="values must have 1 entries"):
        memory.store(GOOD, GOOD)
    with pytest.raises(UsageError, match="values must have 1 entries"):
        memory.store(GOOD)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.ContinuousHopfield(time_constant=0.0), "time_constant must be finite and above 0"),
        (lambda: m.gamma_memory.depth(2, 0.0), r"resolution must be in \(0, 1\], got 0.0"),
        (lambda: m.CorrelationMemory(0.0), "learning_rate must be finite and above 0, got 0.0"),
        (lambda: m.IncrementalMemory(NAN), "tolerance must be finite and above 0, got nan"),
        (lambda: m.DecayingMemory(1.5), r"decay must be in \[0, 1\], got 1.5"),
        (lambda: m.DeltaMemory(epochs=0), "epochs must be at least 1, got 0"),
        (lambda: m.DenseHopfield(1), "power must be at least 2, got 1"),
        (lambda: m.ModernHopfield(-1.0), "inverse_temperature must be finite and above 0"),
        (lambda: m.ContinuousHopfield(0.0), "gain must be finite and above 0"),
        (lambda: m.crosstalk_variance(0, 10), "items must be at least 1, got 0"),
        (lambda: m.signal_to_noise(1.0, 10, 0, kind="autoassociative"), "below 1 for infinitely many items"),
        (lambda: m.signal_to_noise(0.9, 10, 3, items=3, kind="autoassociative"), "items must be at least 4, got 3"),
        (lambda: m.window(1.0), r"decay must be in \[0, 1\)"),
        (lambda: m.flip(GOOD, 1.5), r"fraction must be in \[0, 1\], got 1.5"),
        (lambda: m.hebb_flow([[1.0, 0.0]], [[1.0, 2.0], [0.0, 1.0]], 1.0), "covariance_matrix must be symmetric"),
        (lambda: m.oja_flow([[1.0]], [[1.0, 0.0], [0.0, 1.0]], 1.0), "weights must have 2 entries"),
        (lambda: m.learn(m.hebb, [[1.0]], [[1.0]], learning_rate=0.0), "learning_rate must be finite and above 0"),
        (lambda: m.integrate(m.hebb, [[1.0]], [[1.0]], duration=1.0, steps=0), "steps must be at least 1"),
        (lambda: m.capacity_curve(m.CorrelationMemory, 8, []), "counts must name at least one"),
        (lambda: m.capacity_curve(m.HopfieldNetwork, 8, [2], kind="heteroassociative"), "patterns, not pairs"),
        (lambda: m.hebb_flow([[1.0]], [[1.0]], NAN), "time must be finite, got nan"),
        (
            lambda: m.basin_curve(m.HopfieldNetwork().store(GOOD), GOOD, []),
            "fractions must name at least one",
        ),
        (lambda: m.hopfield_theory.dense_capacity(10**6, 100), "above 1e308"),
        (lambda: m.modern_capacity(10**6, radius=10.0), "above 1e308 patterns"),
        (lambda: m.mixtures(GOOD), "number of patterns must be at least 3, got 2"),
        (lambda: m.fixed_points(m.HopfieldNetwork().store([[1.0] * 21])), "needs N ≤ 20, got N = 21"),
        (lambda: m.gamma_memory.impulse_responses(2, 1.5, 3), r"resolution must be in \(0, 1\], got 1.5"),
        (lambda: m.delta_net(*[torch.zeros(1, 2, 3)] * 3, torch.zeros(1, 3)), r"rates \(B, T\)"),
    ],
)
def test_settings_out_of_range(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize("make", ALL)
def test_lists_arrays_and_tensors_of_whole_numbers_are_all_the_same(make: type) -> None:
    whole = [[1, -1, 1], [-1, -1, 1]]
    expected = make().store(torch.tensor(whole, dtype=torch.float32)).recall(whole)
    assert expected.dtype == torch.float32
    assert_close(make().store(whole).recall(np.array(whole)), expected)
    assert_close(make().store(np.array(whole)).recall(np.array(whole, dtype=np.float64)), expected)


def test_every_public_name_exists() -> None:
    assert all(hasattr(m, name) for name in m.__all__)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.CorrelationMemory().store(None), "keys must be an array of numbers"),
        (lambda: m.CorrelationMemory("fast"), "learning_rate must be finite and above 0, got 'fast'"),
        (lambda: m.DeltaMemory(epochs=1.5), "epochs must be a whole number, got 1.5"),
        (lambda: m.random_signs(2.5, 4), "count must be a whole number, got 2.5"),
        (lambda: m.overlap(torch.ones(2, 3), torch.ones(4, 3)), r"each state of shape \(2, 3\), got \(4, 3\)"),
        (lambda: m.oja_flow([[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], -1.0), "time must be finite and at least 0"),
    ],
)
def test_values_of_another_type(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
