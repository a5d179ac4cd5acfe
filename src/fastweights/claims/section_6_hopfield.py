"""§6 The Hopfield network as an example of an autoassociative memory model.

The section announces the network and breaks off; what it would have had to state is supplied from its literature.
"""

from __future__ import annotations

import math

import torch
from scipy.special import erf
from torch import Tensor

from fastweights import memories
from fastweights.claims._pictures_memory import draw_hopfield_capacity, draw_hopfield_recall
from fastweights.claims._trials_memory import (
    final_overlaps,
    first_step_errors,
    largest,
    mean_of_trials,
    normal,
    seeded,
    signs,
)
from fastweights.claims.base import Evidence, Measurement, Verdict, above, below, claim, close
from fastweights.memories import hopfield_theory as theory
from fastweights.memories.hopfield import StorageRule

ROUNDING = 1e-12
"""Far above the error of a sum of some hundred numbers of size one, far below the change that one unit makes."""


@claim(
    "6/storage-rule",
    source="§2, “Hopfield nets … implemented a similar storage rule”",
    printed="Hopfield's storage rule is that of the fast weights: a sum of outer products of states.",
    verdict=Verdict.HOLDS,
    note="In Hopfield's rule the fast weights' λ is 1 and their η is 1/N, and the diagonal is dropped.",
)
def storage_rule() -> Evidence:
    patterns = signs(30, 100)
    fast = memories.DecayingMemory(decay=1.0, learning_rate=1 / 100).store(patterns).weights
    slow = memories.HopfieldNetwork(self_coupling=True).store(patterns).weights
    plain = memories.HopfieldNetwork().store(patterns).weights
    forgetful = memories.DecayingMemory(decay=0.95, learning_rate=1 / 100).store(patterns).weights
    return Evidence(
        printed=(
            below("max |A(30) − W|, λ = 1, η = 1/N, 30 patterns of 100 units", largest(fast - slow), 1e-14),
            below("the same off the diagonal, without self-coupling", largest((fast - plain).fill_diagonal_(0)), 1e-14),
            above("max |A(30) − W| for λ = 0.95, which forgets", largest(forgetful - slow), 0.1),
        )
    )


@claim(
    "6/suited-to-autoassociation",
    source="§6, “suited for the autoassociative memory task”",
    printed="The Hopfield network is suited for autoassociation: stored patterns are fixed points that attract damaged "
    "ones.",
    verdict=Verdict.HOLDS,
    figure=draw_hopfield_recall,
)
def suited_to_autoassociation() -> Evidence:
    patterns = signs(25, 500)
    network = memories.HopfieldNetwork().store(patterns)

    def wrong(probes: Tensor) -> float:
        return float((network.recall(probes, generator=seeded(2)) != patterns).sum())

    return Evidence(
        printed=(
            below("wrong bits of 12 500, from 25 stored patterns of 500 units", wrong(patterns), 0.0),
            below("from 25 % of the bits flipped", wrong(memories.flip(patterns, 0.25, generator=seeded(1))), 0.0),
            below("from half of the bits unknown", wrong(memories.erase(patterns, 0.5, generator=seeded(1))), 0.0),
        )
    )


@claim(
    "6/additive-model",
    source="§6, “an application of the additive model of the neuron”",
    printed="The Hopfield network is an application of the additive model dx/dt = −x/τ + W f(x) + b.",
    verdict=Verdict.HOLDS,
    note="With steep f the additive model comes to rest in the binary network's memories, and has an energy as well.",
)
def additive_model() -> Evidence:
    patterns = signs(5, 100)
    graded = memories.ContinuousHopfield(gain=20.0).store(patterns)
    binary = memories.HopfieldNetwork().store(patterns)
    states = normal(10, 100, seed=1)
    by_unit = -states + torch.einsum("ij,bj->bi", binary.weights, torch.tanh(20.0 * states))
    flow = graded.relax(0.1 * memories.flip(patterns, 0.2, generator=seeded(2)), duration=10.0, steps=200)
    at_rest = graded.output(flow.states[-1]).sign()
    return Evidence(
        printed=(
            below("max |field − (−x + W tanh 20x)|, the binary W", largest(graded.field(states) - by_unit), ROUNDING),
            below("wrong signs of 500 at rest, from 20 % flipped", float((at_rest != patterns).sum()), 0.0),
            below("the binary network's changes of these signs", largest(binary.recall(at_rest) - at_rest), 0.0),
            below("largest rise of the energy in a step of the flow", flow.energy.diff(dim=0).max().item(), ROUNDING),
        )
    )


@claim(
    "6/energy",
    source="Final version, on the Hopfield network’s energy",
    printed="The energy E = −½ xᵀW x falls in optimization, while the patterns are learned.",
    corrected="It falls in recall, when the states change and W does not: never rising for symmetric W of non-negative "
    "diagonal whose units are updated one by one.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def energy() -> Evidence:
    network = memories.HopfieldNetwork().store(signs(10, 100))
    states = signs(40, 100, seed=1)
    before = network.energy(states)
    while_learning = (network.store(signs(1, 100, seed=2)).energy(states) - before).max().item()
    rules: tuple[StorageRule, ...] = ("hebb", "storkey", "pseudo-inverse")
    return Evidence(
        printed=(below("largest rise of a state's energy when one more pattern is learned", while_learning, ROUNDING),),
        corrected=(
            *(_largest_rise(_network(rule, self_coupling=kept)) for rule in rules for kept in (False, True)),
            below("change of energy from probe to rest, largest of 40", _total_change(network, states), -1.0),
        ),
    )


@claim(
    "6/energy-needs-symmetry",
    source="§6, supplied (Hopfield 1982)",
    printed="The energy may rise in recall if W is not symmetric or if its diagonal is negative.",
    verdict=Verdict.HOLDS,
)
def energy_needs_symmetry() -> Evidence:
    W = normal(60, 60).fill_diagonal_(0)
    symmetric = W + W.T

    def rise(weights: Tensor) -> float:
        probes = signs(20, len(weights), seed=1)
        run = memories.HopfieldNetwork.from_weights(weights).relax(probes, max_sweeps=10, generator=seeded(2))
        return run.energy.diff(dim=0).max().item()

    return Evidence(
        printed=(
            above("largest rise in one update, asymmetric W", rise(W), 1.0),
            above("W symmetric, but with the diagonal −20", rise(symmetric - 20 * torch.eye(60, dtype=W.dtype)), 1.0),
            below("W symmetric, zero diagonal", rise(symmetric), ROUNDING * 60),
        )
    )


@claim(
    "6/synchronous-cycles",
    source="§6, supplied (Goles, Fogelman & Pellegrin 1985)",
    printed="Updated all at once, a network of symmetric W ends in a fixed point or in a cycle of two states, never in "
    "a longer one.",
    verdict=Verdict.HOLDS,
    note="W = [[0, −1], [−1, 0]] goes from (1, 1) to (−1, −1) and back. Updated one by one it settles.",
)
def synchronous_cycles() -> Evidence:
    pair = memories.HopfieldNetwork.from_weights(torch.tensor([[0.0, -1.0], [-1.0, 0.0]], dtype=torch.float64))
    start = torch.ones(1, 2, dtype=torch.float64)
    W = normal(60, 60)
    ring = memories.HopfieldNetwork.from_weights(torch.eye(3, dtype=torch.float64).roll(1, dims=1))

    def settled(network: memories.HopfieldNetwork, probes: Tensor) -> float:
        """How many probes end in a fixed point or a cycle of two."""
        return float((network.relax(probes, update="synchronous", max_sweeps=500).period > 0).sum())

    random = settled(memories.HopfieldNetwork.from_weights(W + W.T), signs(100, 60, seed=1))
    odd_one_out = torch.tensor([[1.0, -1.0, -1.0]], dtype=torch.float64)
    return Evidence(
        printed=(
            close("period of W = [[0, −1], [−1, 0]]", float(pair.relax(start, update="synchronous").period), 2.0, 0.0),
            close("updated one by one", float(pair.relax(start, generator=seeded()).period), 1.0, 0.0),
            close("of 100 probes those that end so, random symmetric W", random, 100.0, 0.0),
            close("the same of one probe of a ring, which is not symmetric", settled(ring, odd_one_out), 0.0, 0.0),
        )
    )


@claim(
    "6/spurious-states",
    source="§6, supplied (Amit, Gutfreund & Sompolinsky 1985)",
    printed="The network also keeps what it was never taught: the inverses of the patterns and mixtures of three.",
    verdict=Verdict.HOLDS,
)
def spurious_states() -> Evidence:
    units = 1000
    patterns = signs(5, units)
    network = memories.HopfieldNetwork().store(patterns)
    mixed = memories.mixtures(patterns[:3])
    rest = network.recall(mixed, generator=seeded(1))
    overlaps = (rest @ patterns[:3].T).abs() / units
    # Bits on which three random patterns agree in sign with their mixture: 3 of 4, give or take √(3/16 N).
    chance = 5 * 2 * math.sqrt(3 / 16 / units)
    return Evidence(
        printed=(
            below("bits of 5 inverse patterns of 1000 units that change", _turned(network, -patterns), 0.0),
            below("bits that change in 8 mixtures of three", _turned(network, mixed), 0.0),
            close("smallest overlap of these with one of their patterns, ± 5 σ", overlaps.min().item(), 0.5, chance),
            close("largest, ± 5 σ", overlaps.max().item(), 0.5, chance),
        )
    )


@claim(
    "6/capacity",
    source="§6, supplied (Amit, Gutfreund & Sompolinsky 1985)",
    printed="With Hebb's rule and random patterns recall breaks down at the load α_c = 0.1379: from an overlap of "
    "0.967, with 1.6 % of the bits wrong, to none.",
    verdict=Verdict.HOLDS,
    note="For N → ∞, replica-symmetric, at zero temperature.",
    figure=draw_hopfield_capacity,
)
def capacity() -> Evidence:
    load, overlap, error = theory.critical_point()
    return Evidence(
        printed=(
            close("critical load", load, 0.1379055665, 5e-11),
            close("overlap there", overlap, 0.9674171, 5e-8),
            close("wrong bits there, %", 100 * error, 1.62914, 5e-6),
            below("residual of the mean-field equations at load 0.10", _mean_field_residual(0.10), ROUNDING),
            below("and at 0.13", _mean_field_residual(0.13), ROUNDING),
            mean_of_trials(
                "lack of overlap at rest, from stored patterns, α = 0.10, N = 1000",
                1 - final_overlaps(0.10, 1000, 100),
                1 - theory.retrieval_overlap(0.10),
            ),
            close("overlap in theory at α = 0.2", theory.retrieval_overlap(0.2), 0.0, 0.0),
            below("overlap at rest, α = 0.2, N = 1000", final_overlaps(0.2, 1000, 40).mean().item(), 0.6),
        )
    )


@claim(
    "6/first-step-error",
    source="§6, supplied (Hertz, Krogh & Palmer 1991, Section 2.2)",
    printed="The first update turns a stored bit with probability ½ erfc √(1/2α).",
    verdict=Verdict.HOLDS,
)
def first_step_error() -> Evidence:
    published = {0.105: (0.00101, 5e-6), 0.138: (0.00355, 5e-6), 0.185: (0.01004, 5e-6), 0.37: (0.0501, 5e-5)}
    units = 1001
    measured = []
    for load in published:
        items = 2 * round(load * units / 2) + 1  # an odd number of patterns makes no ties
        # A pattern does not disturb itself, nor a unit itself.
        expected = theory.first_step_error((items - 1) / (units - 1))
        measured.append(
            mean_of_trials(f"bits turned, P = {items}, N = {units}", first_step_errors(items, units, 12), expected)
        )
    return Evidence(
        printed=(
            *(
                close(f"formula at α = {load}, to the digits published", theory.first_step_error(load), *error)
                for load, error in published.items()
            ),
            *measured,
        )
    )


@claim(
    "6/error-free-capacity",
    source="§6, supplied (McEliece, Posner, Rodemich & Venkatesh 1987)",
    printed="Up to P = N/(2 ln N) patterns, almost all are stored without a wrong bit.",
    verdict=Verdict.HOLDS,
    note="A pattern survives with probability near exp(−N ε), ε the first-step error; at this P it tends to 1, slowly.",
)
def error_free_capacity() -> Evidence:
    units = 1001
    bound = round(theory.error_free_capacity(units))
    shares = torch.tensor([_fixed("hebb", bound, units, seed) for seed in range(30)], dtype=torch.float64)
    error = theory.first_step_error((bound - 1) / (units - 1))
    return Evidence(
        printed=(
            *(
                close(f"N/(2 ln N) for N = {10**k}", theory.error_free_capacity(10**k), value, 5e-3)
                for k, value in ((2, 10.857), (3, 72.38), (4, 542.87))
            ),
            above(f"share of patterns without a wrong bit, P = N/(2 ln N) = {bound}", shares.mean().item(), 0.85),
            mean_of_trials("it against exp(−N ε)", shares, math.exp(-units * error)),
            below("the same share for twice as many patterns", _fixed("hebb", 2 * bound, units), 0.2),
        )
    )


@claim(
    "6/storkey",
    source="§6, supplied (Storkey 1997)",
    printed="Storkey's rule stores N/√(2 ln N) patterns without a wrong bit, more than Hebb's.",
    verdict=Verdict.HOLDS,
)
def storkey() -> Evidence:
    units = 200
    items = round(theory.storkey_capacity(units))
    ratio = theory.storkey_capacity(units) / theory.error_free_capacity(units)
    return Evidence(
        printed=(
            close("ratio of the two capacities against √(2 ln N)", ratio, math.sqrt(2 * math.log(units)), ROUNDING),
            above(
                f"Storkey: share without a wrong bit, P = {items}, N = {units}", _fixed("storkey", items, units), 0.9
            ),
            below("Hebb: the same share", _fixed("hebb", items, units), 0.1),
        )
    )


@claim(
    "6/pseudo-inverse",
    source="§6, supplied (Personnaz, Guyon & Dreyfus 1985)",
    printed="The pseudo-inverse rule makes fixed points of up to N − 1 linearly independent patterns.",
    verdict=Verdict.HOLDS,
)
def pseudo_inverse() -> Evidence:
    units = 200
    all_but_one = memories.HopfieldNetwork("pseudo-inverse", self_coupling=True).store(signs(units - 1, units)).weights
    return Evidence(
        printed=(
            *(
                close(
                    f"share of fixed patterns, P = {count}, N = 200", _fixed("pseudo-inverse", count, units), 1.0, 0.0
                )
                for count in (100, units - 1)
            ),
            below("max |W² − W|: W projects onto the patterns", largest(all_but_one @ all_but_one - all_but_one), 1e-9),
            above("share of random states that stay once the patterns span all of R^N", _stays_when_full(units), 1.0),
            below("Hebb: share of fixed patterns, P = N − 1", _fixed("hebb", units - 1, units), 0.01),
        )
    )


@claim(
    "6/dense-capacity",
    source="§6, supplied (Krotov & Hopfield 2016)",
    printed="With the energy −Σ (ξᵀx)ⁿ, N^{n−1}/(2 (2n − 3)!! ln N) patterns are stored without a wrong bit.",
    verdict=Verdict.HOLDS,
)
def dense_capacity() -> Evidence:
    units = 64
    bound = round(theory.dense_capacity(units, 3))
    of_fourth_order = 1e6 / (30 * math.log(100))

    def fixed(items: int) -> float:
        patterns = signs(items, units)
        moved = memories.DenseHopfield(3).store(patterns).recall(patterns, max_sweeps=1, generator=seeded(1))
        return (moved == patterns).all(dim=1).double().mean().item()

    return Evidence(
        printed=(
            close("n = 2, N = 100", theory.dense_capacity(100, 2), 10.857, 5e-4),
            close(
                "n = 4, N = 100, over 100³/(30 ln 100)", theory.dense_capacity(100, 4) / of_fourth_order, 1.0, ROUNDING
            ),
            above(f"n = 3: share of {bound} patterns of 64 units without a wrong bit", fixed(bound), 0.8),
            below("n = 3: the same share for four times as many", fixed(4 * bound), 0.2),
        )
    )


@claim(
    "6/modern-capacity",
    source="§6, supplied (Ramsauer et al. 2021, Theorem 3)",
    printed="With the softmax update √p c^{(d−1)/4} patterns on a sphere are stored with probability 1 − p, "
    "c = b/W₀(e^{a + ln b}): exponentially many in d.",
    verdict=Verdict.HOLDS,
)
def modern_capacity() -> Evidence:
    small = memories.modern_capacity(20, inverse_temperature=1.0, radius=3.0)
    large = memories.modern_capacity(75, inverse_temperature=1.0, radius=1.0)
    count = math.floor(small.patterns)
    kept = torch.stack([_modern_error(count, 20, 3.0 * math.sqrt(19), seed) for seed in range(50)])
    return Evidence(
        printed=(
            close("c for β = 1, K = 3, d = 20, p = 0.001", small.c, 3.15461, 5e-6),
            close("c for β = 1, K = 1, d = 75, p = 0.001", large.c, 1.37188, 5e-6),
            below("residual of (b/c) e^{b/c} = b e^a, first", _modern_residual(small.c, 20, 3.0), ROUNDING),
            below("residual of (b/c) e^{b/c} = b e^a, second", _modern_residual(large.c, 75, 1.0), ROUNDING),
            below(f"largest relative error of recall of {count} patterns, 50 draws", kept.max().item(), 1e-2),
        )
    )


def _network(rule: StorageRule, *, self_coupling: bool) -> memories.HopfieldNetwork:
    return memories.HopfieldNetwork(rule, self_coupling=self_coupling).store(signs(15, 100))


def _largest_rise(network: memories.HopfieldNetwork) -> Measurement:
    run = network.relax(signs(30, 100, seed=1), generator=seeded(2))
    diagonal = "with" if network.self_coupling else "without"
    what = f"largest rise of the energy in one update of recall, {network.rule} {diagonal} self-coupling"
    return below(what, run.energy.diff(dim=0).max().item(), ROUNDING)


def _total_change(network: memories.HopfieldNetwork, states: Tensor) -> float:
    return (network.energy(network.recall(states, generator=seeded(3))) - network.energy(states)).max().item()


def _mean_field_residual(load: float) -> float:
    """How far the recall state is from m = erf(m/√(2αr)), r = 1/(1 − C)², C = √(2/(παr)) e^{−m²/(2αr)}."""
    m = theory.retrieval_overlap(load)
    # r from the third equation with the second, iterated: a contraction near the recall state.
    r = 1.0
    for _ in range(200):
        r = 1 / (1 - math.sqrt(2 / (math.pi * load * r)) * math.exp(-(m**2) / (2 * load * r))) ** 2
    return abs(m - float(erf(m / math.sqrt(2 * load * r))))


def _turned(network: memories.HopfieldNetwork, states: Tensor) -> float:
    return float((network.recall(states, generator=seeded(1)) != states).sum())


def _fixed(rule: StorageRule, items: int, units: int, seed: int = 0) -> float:
    """Share of the stored patterns that no update changes."""
    patterns = signs(items, units, seed)
    moved = memories.HopfieldNetwork(rule).store(patterns).recall(patterns, update="synchronous", max_sweeps=1)
    return (moved == patterns).all(dim=1).double().mean().item()


def _stays_when_full(units: int) -> float:
    """Share of random states that the network keeps when its patterns span R^N: all, since W is the identity."""
    network = memories.HopfieldNetwork("pseudo-inverse", self_coupling=True).store(signs(2 * units, units))
    states = signs(50, units, seed=1)
    moved = network.recall(states, update="synchronous", max_sweeps=1)
    return (moved == states).all(dim=1).double().mean().item()


def _modern_residual(c: float, dimension: int, radius: float) -> float:
    """|(b/c) e^{b/c} − b e^a|, which c = b/W₀(b e^a) makes zero by the definition of W₀; β = 1, p = 0.001."""
    a = 2 / (dimension - 1) * (1 + math.log(2 * radius**2 * 0.001 * (dimension - 1)))
    b = 2 * radius**2 / 5
    return abs(b / c * math.exp(b / c) - b * math.exp(a))


def _modern_error(count: int, dimension: int, length: float, seed: int) -> Tensor:
    """Largest relative error after five updates from stored patterns that were drawn from a sphere."""
    patterns = length * memories.random_unit_vectors(count, dimension, generator=seeded(seed), dtype=torch.float64)
    recalled = memories.ModernHopfield(1.0).store(patterns).recall(patterns, steps=5)
    largest_error: Tensor = (recalled - patterns).norm(dim=1).max()
    return largest_error / length
