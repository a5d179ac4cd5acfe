"""The binary Hopfield network: storage rules, energy, capacity, spurious states and basins."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fastweights import memories as m
from fastweights.memories import hopfield_theory as theory
from fastweights.memories import storage
from fastweights.memories.hopfield import StorageRule

F64 = torch.float64
RULES: tuple[StorageRule, ...] = ("hebb", "storkey", "pseudo-inverse")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patterns(count: int, size: int, *, seed: int = 0) -> Tensor:
    return m.random_signs(count, size, generator=seeded(seed), dtype=F64)


def storkey_by_definition(xi: Tensor) -> Tensor:
    size = xi.shape[1]
    W = torch.zeros(size, size, dtype=F64)
    for x in xi:
        new = W.clone()
        for i in range(size):
            for j in range(size):
                if i != j:
                    h_ij = sum(W[i, k] * x[k] for k in range(size) if k not in (i, j))
                    h_ji = sum(W[j, k] * x[k] for k in range(size) if k not in (i, j))
                    new[i, j] += (x[i] * x[j] - x[i] * h_ji - h_ij * x[j]) / size
        W = new
    return W


def test_storage_rules_are_what_they_are_defined_to_be() -> None:
    xi = patterns(4, 9)
    zeros = torch.zeros(9, 9, dtype=F64)
    assert_close(storage.hebb(zeros, xi), sum((torch.outer(x, x) for x in xi), zeros) / 9)
    assert_close(storage.storkey(zeros, xi), storkey_by_definition(xi))
    assert_close(storage.projection(zeros, xi), xi.T @ torch.linalg.pinv(xi.T))


@pytest.mark.parametrize("rule", RULES)
def test_storing_in_two_calls_equals_storing_in_one(rule: StorageRule) -> None:
    xi = patterns(6, 20)
    once = m.HopfieldNetwork(rule).store(xi)
    twice = m.HopfieldNetwork(rule).store(xi[:2]).store(xi[2:])
    assert_close(twice.weights, once.weights)
    assert_close(once.weights, once.weights.T)
    assert not once.weights.diagonal().any()


def test_a_pattern_stored_again_does_not_change_the_projection() -> None:
    xi = patterns(6, 20)
    network = m.HopfieldNetwork("pseudo-inverse").store(xi)
    before = network.weights
    assert_close(network.store(torch.cat([xi[1:3], -xi[:1]])).weights, before)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("self_coupling", [False, True])
def test_energy_never_rises_in_asynchronous_recall(rule: StorageRule, self_coupling: bool) -> None:
    network = m.HopfieldNetwork(rule, self_coupling=self_coupling).store(patterns(12, 50))
    probes = m.random_signs(30, 50, generator=seeded(1), dtype=F64)
    run = network.relax(probes, generator=seeded(2))
    assert run.energy.diff(dim=0).max() <= 1e-12
    assert_close(run.energy[0], network.energy(probes))
    assert_close(run.energy[-1], network.energy(run.state))
    assert (run.energy[-1] < run.energy[0]).any()
    assert (run.period == 1).all()
    assert_close(network.recall(run.state, update="synchronous", max_sweeps=1), run.state)


def test_energy_rises_when_the_weights_are_not_symmetric() -> None:
    W = torch.randn(30, 30, generator=seeded(), dtype=F64).fill_diagonal_(0)
    network = m.HopfieldNetwork.from_weights(W)
    run = network.relax(m.random_signs(20, 30, generator=seeded(1)), max_sweeps=10, generator=seeded(2))
    assert run.energy.diff(dim=0).max() > 1
    # The record stays true to the states even so.
    assert_close(run.energy[-1], network.energy(run.state))
    symmetric = m.HopfieldNetwork.from_weights(W + W.T)
    run = symmetric.relax(m.random_signs(20, 30, generator=seeded(1)), max_sweeps=10, generator=seeded(2))
    assert run.energy.diff(dim=0).max() <= 1e-12


def test_energy_rises_when_the_diagonal_is_negative() -> None:
    network = m.HopfieldNetwork.from_weights([[-1.0, 0.5], [0.5, 0.0]])
    run = network.relax([[1.0, 1.0]], max_sweeps=1, generator=seeded())
    # x₀ turns in its field of −1 + 0.5 and so undoes the field's cause: ΔE = 2·(0.5 − 1) − 2·(−1) = 1.
    assert run.energy.diff(dim=0).max() == 1
    assert_close(run.energy[-1], network.energy(run.state))


def test_synchronous_updates_can_cycle_where_asynchronous_ones_settle() -> None:
    network = m.HopfieldNetwork.from_weights([[0.0, -1.0], [-1.0, 0.0]])
    together = network.relax([[1.0, 1.0]], update="synchronous")
    assert together.period.tolist() == [2]
    assert together.energy[:, 0].tolist() == [1, 1, 1]
    in_turn = network.relax([[1.0, 1.0]])
    assert in_turn.period.tolist() == [1]
    assert sorted(in_turn.state[0].tolist()) == [-1, 1]
    assert in_turn.energy[-1].item() == -1


def test_synchronous_updates_of_symmetric_weights_end_within_two_states() -> None:
    W = torch.randn(40, 40, generator=seeded(), dtype=F64)
    run = m.HopfieldNetwork.from_weights(W + W.T).relax(
        m.random_signs(64, 40, generator=seeded(1)), update="synchronous", max_sweeps=500
    )
    assert (run.period > 0).all()
    assert (run.period == 2).any()
    W = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])  # a ring has cycles of three
    ring = m.HopfieldNetwork.from_weights(W).relax([[1.0, -1, -1]], update="synchronous", max_sweeps=30)
    assert ring.period.tolist() == [0]


@pytest.mark.parametrize("self_coupling", [False, True])
def test_pseudo_inverse_fixes_every_pattern_up_to_one_fewer_than_units(self_coupling: bool) -> None:
    xi = patterns(59, 60)
    network = m.HopfieldNetwork("pseudo-inverse", self_coupling=self_coupling).store(xi)
    assert torch.equal(network.recall(xi, update="synchronous", max_sweeps=1), xi)
    assert not torch.equal(m.HopfieldNetwork("hebb").store(xi).recall(xi, update="synchronous", max_sweeps=1), xi)


def test_critical_load_of_amit_gutfreund_and_sompolinsky() -> None:
    load, overlap, error = theory.critical_point()
    assert load == pytest.approx(0.1379055665, abs=5e-11)
    assert overlap == pytest.approx(0.9674171, abs=5e-8)
    assert error == pytest.approx(0.0162914, abs=5e-8)
    assert theory.retrieval_overlap(load - 1e-9) == pytest.approx(overlap, abs=1e-4)
    assert theory.retrieval_overlap(load + 1e-9) == 0
    for small in (5e-6, 6e-6, 2.3e-5):
        assert theory.retrieval_overlap(small) == pytest.approx(1, abs=1e-12)
    assert theory.retrieval_overlap(0.01) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("load", "error"), [(0.105, 0.00101), (0.138, 0.00355), (0.185, 0.01004), (0.37, 0.0501)])
def test_first_step_error(load: float, error: float) -> None:
    assert theory.first_step_error(load) == pytest.approx(error, abs=6e-6 if load < 0.3 else 6e-5)
    wrong = []
    for seed in range(10):
        xi = m.random_signs(round(load * 1001) // 2 * 2 + 1, 1001, generator=seeded(seed))
        network = m.HopfieldNetwork().store(xi)
        moved = network.recall(xi, update="synchronous", max_sweeps=1)
        wrong.append(float((moved != xi).double().mean()))
    mean = torch.tensor(wrong).mean().item()
    standard_error = torch.tensor(wrong).std().item() / math.sqrt(len(wrong))
    # A pattern does not disturb itself: the load that counts is (P − 1)/(N − 1), and P was rounded to odd.
    assert abs(mean - theory.first_step_error((len(xi) - 1) / 1000)) < 4 * standard_error


def test_error_free_capacities() -> None:
    assert [round(theory.error_free_capacity(10**k), 3) for k in (2, 3, 4)] == [10.857, 72.382, 542.868]
    for size in (100, 1000):
        ratio = theory.storkey_capacity(size) / theory.error_free_capacity(size)
        assert ratio == pytest.approx(math.sqrt(2 * math.log(size)))
        assert theory.dense_capacity(size, 2) == pytest.approx(theory.error_free_capacity(size))
    assert theory.dense_capacity(100, 4) == pytest.approx(100**3 / (2 * 15 * math.log(100)))


def test_recall_succeeds_below_the_critical_load_and_fails_above() -> None:
    def final_overlap(load: float) -> float:
        xi = m.random_signs(round(load * 1000), 1000, generator=seeded())
        network = m.HopfieldNetwork().store(xi)
        return float(m.overlap(network.recall(xi[:20], max_sweeps=20, generator=seeded(1)), xi[:20]).mean())

    assert final_overlap(0.10) == pytest.approx(theory.retrieval_overlap(0.10), abs=0.005)
    assert final_overlap(0.20) < 0.7


def test_storkey_holds_more_than_hebb() -> None:
    xi = patterns(30, 120)

    def fixed(rule: StorageRule) -> float:
        moved = m.HopfieldNetwork(rule).store(xi).recall(xi, update="synchronous", max_sweeps=1)
        return float((moved == xi).all(dim=1).double().mean())

    assert fixed("storkey") > 0.9 > 0.2 > fixed("hebb")


def test_five_thousand_units() -> None:
    xi = m.random_signs(200, 5000, generator=seeded())
    network = m.HopfieldNetwork().store(xi)
    run = network.relax(m.flip(xi[:4], 0.3, generator=seeded(1)), update="synchronous")
    assert_close(m.overlap(run.state, xi[:4]), torch.ones(4), atol=1e-3, rtol=0)
    assert (run.period == 1).all()


def test_all_fixed_points_of_three_orthogonal_patterns() -> None:
    hadamard = torch.tensor([[1.0]], dtype=F64)
    for _ in range(3):
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    xi = hadamard[[1, 2, 4]]
    network = m.HopfieldNetwork().store(xi)
    found = m.fixed_points(network)
    kinds = m.classify(found, xi)
    # Units are the corners of a cube, patterns its coordinates; the 8 majority functions of these are fixed as well.
    assert [int(kind.sum()) for kind in kinds] == [3, 3, 8, 0]
    spurious = found[kinds.mixture]
    assert_close((spurious @ xi.T / 8).abs(), torch.full((8, 3), 0.5, dtype=F64))
    assert network.energy(spurious).min() > network.energy(xi).max()


def test_fixed_points_are_exactly_the_states_that_stay() -> None:
    network = m.HopfieldNetwork().store(patterns(5, 10))
    found = {tuple(state) for state in m.fixed_points(network).tolist()}
    everything = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=F64)] * 10)
    moved = network.recall(everything, update="synchronous", max_sweeps=1)
    stays = everything[(moved == everything).all(dim=1)]
    assert found == {tuple(state) for state in stays.tolist()}
    ends = network.recall(everything, generator=seeded())
    assert {tuple(state) for state in ends.tolist()} <= found
    assert all(sum(int(kind[i]) for kind in m.classify(ends, patterns(5, 10))) == 1 for i in range(0, 1024, 97))


def test_basins_shrink_with_distortion_and_self_coupling() -> None:
    xi = patterns(40, 100)
    flips = [0.0, 0.02, 0.08, 0.14, 0.2, 0.5]
    free, coupled = (
        m.basin_curve(
            m.HopfieldNetwork("pseudo-inverse", self_coupling=c).store(xi), xi, flips, trials=5, generator=seeded()
        )
        for c in (False, True)
    )
    assert free[0] == coupled[0] == 1
    assert free[1] > 0.95
    assert free[-1] < 0.05
    assert all(later <= earlier for earlier, later in pairwise(free.tolist()))
    assert free.sum() > coupled.sum() + 0.2


def test_partial_keys_are_completed() -> None:
    xi = patterns(5, 200)
    network = m.HopfieldNetwork().store(xi)
    assert torch.equal(network.recall(m.erase(xi, 0.6, generator=seeded()), generator=seeded(1)), xi)


def test_recall_keeps_to_single_precision_and_to_its_generator() -> None:
    xi = m.random_signs(30, 100, generator=seeded())
    network = m.HopfieldNetwork().store(xi)
    probes = m.flip(xi, 0.3, generator=seeded(1))
    first, second = (network.recall(probes, generator=seeded(2)) for _ in range(2))
    assert first.dtype == torch.float32
    assert torch.equal(first, second)


def test_what_never_settles_has_no_period() -> None:
    # x₀ follows x₁, and x₁ does the opposite of x₀: no state of the two is fixed.
    run = m.HopfieldNetwork.from_weights([[0.0, 1.0], [-1.0, 0.0]]).relax([[1.0, 1.0]], max_sweeps=20)
    assert run.period.tolist() == [0]


def test_fractions_are_rounded_to_whole_entries() -> None:
    xi = patterns(3, 100)
    for fraction in (0.29, 0.57):  # times 100 just below a whole number in floating point
        assert (m.flip(xi, fraction, generator=seeded()) != xi).sum(dim=1).tolist() == [round(100 * fraction)] * 3
        assert (m.erase(xi, fraction, generator=seeded()) == 0).sum(dim=1).tolist() == [round(100 * fraction)] * 3


def test_a_state_is_of_one_kind_even_if_its_inverse_is_stored() -> None:
    xi = patterns(2, 9)
    stored = torch.cat([xi, -xi])
    assert [int(kind.sum()) for kind in m.classify(stored, stored)] == [4, 0, 0, 0]


def test_every_trial_flips_anew() -> None:
    xi = patterns(1, 10)
    # Half of the bits are wrong: ξ and −ξ are equally near, and chance decides between them.
    (rate,) = m.basin_curve(m.HopfieldNetwork().store(xi), xi, [0.5], trials=64, generator=seeded()).tolist()
    assert abs(rate - 0.5) < 4 * 0.5 / 8
