"""§4 Memory and recurrent neural networks."""

from __future__ import annotations

import math

import torch
from scipy.special import erfcinv
from torch import Tensor

from fastweights import dynamics, memories
from fastweights.cells.tapped_delay import TappedDelayLine
from fastweights.claims._pictures_memory import draw_crosstalk
from fastweights.claims._trials_memory import (
    bit_errors,
    crosstalk,
    largest,
    mean_of_trials,
    normal,
    seeded,
    signs,
)
from fastweights.claims.base import Evidence, Verdict, above, below, claim, close


@claim(
    "4/time-outside-the-network",
    source="§4, “One is providing a memory structure …”",
    printed="A memory in front of a static network can hold time: what the network answers depends on the last few "
    "inputs that it is shown together, and not on when they came.",
    verdict=Verdict.HOLDS,
)
def time_outside_the_network() -> Evidence:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = TappedDelayLine(5, 16, order=6, dtype=torch.float64).requires_grad_(False)
    inputs = normal(30, 5)
    out, _ = layer(inputs)
    windows = torch.stack([inputs[t - torch.arange(7)].flatten() for t in range(6, 30)])
    static = torch.relu(windows @ layer.weight_ih.T + layer.bias)
    older = inputs.clone()
    older[0] = normal(5, seed=1)
    change = (layer(older)[0] - out).abs().amax(dim=1)
    return Evidence(
        printed=(
            below("max |output − a static layer of the last 7 inputs|, times 6 … 29", largest(out[6:] - static), 1e-12),
            above("change of the output 6 steps after a changed input", change[6].item(), 1e-3),
            below("change of all later outputs", change[7:].max().item(), 0.0),
        )
    )


@claim(
    "4/time-inside-by-feedback",
    source="§4, “The other is incorporating the time element directly …”",
    printed="Feedback takes the time inside the network: through it an input acts on all later outputs.",
    verdict=Verdict.HOLDS,
)
def time_inside_by_feedback() -> Evidence:
    weight, steps = 0.8, 100
    effects = _effects_of_inputs(weight, steps)
    expected = torch.tensor([dynamics.impulse_response(weight, n) for n in range(steps)], dtype=torch.float64)
    return Evidence(
        printed=(
            below("max |∂y(n)/∂x(0) − w^{n+1}|, w = 0.8, n < 100", largest(effects[:, 0] - expected), 1e-15),
            above("the smallest of them", effects[:, 0].min().item(), 0.8**101),
        )
    )


@claim(
    "4/feedback-delays",
    source="§4, “Feedback loops are inherently time-delay elements”",
    printed="What goes round a feedback loop comes back later, not at once: each turn takes a step.",
    verdict=Verdict.HOLDS,
)
def feedback_delays() -> Evidence:
    weight, steps = -0.7, 12
    effects = _effects_of_inputs(weight, steps)
    after_turns = [
        largest(effects.diagonal(-turns) - dynamics.impulse_response(weight, turns)) for turns in range(steps)
    ]
    return Evidence(
        printed=(
            below("max |∂y(n)/∂x(m)| for m > n", largest(effects.triu(1)), 0.0),
            below(
                "max |∂y(n)/∂x(m) − w · w^{n−m}|: n − m turns in n − m steps",
                float(torch.tensor(after_turns).max()),
                1e-15,
            ),
        )
    )


@claim(
    "4/local-and-global-feedback",
    source="§4, “Local feedback occurs when …”",
    printed="Feedback is local if an output feeds into its own element directly, and global if it returns through "
    "other elements first.",
    verdict=Verdict.HOLDS,
)
def local_and_global_feedback() -> Evidence:
    ring = torch.zeros(3, 3, dtype=torch.float64)
    ring[1, 0], ring[2, 1], ring[0, 2] = 0.5, -0.8, 1.5
    local = torch.diag(torch.tensor([0.5, -0.8, 1.5], dtype=torch.float64))

    def self_effect(weights: Tensor, steps: int) -> Tensor:
        """∂x_i(t + steps)/∂x_i(t) at rest."""

        def later(x: Tensor) -> Tensor:
            for _ in range(steps):
                x = torch.tanh(weights @ x)
            return x

        return dynamics.jacobian(later, torch.zeros(1, 3, dtype=torch.float64))[0].diagonal()

    alone = largest(self_effect(local, 1) - local.diag())
    around = largest(self_effect(ring, 3) - 0.5 * -0.8 * 1.5)
    return Evidence(
        printed=(
            below("local, diagonal W: max |∂x_i(t+1)/∂x_i(t) − W_ii|", alone, 1e-15),
            below("global, a ring of three: max |∂x_i(t+1)/∂x_i(t)|", largest(self_effect(ring, 1)), 0.0),
            below("max |∂x_i(t+2)/∂x_i(t)|", largest(self_effect(ring, 2)), 0.0),
            below("max |∂x_i(t+3)/∂x_i(t) − the product of the ring's weights|", around, 1e-15),
        )
    )


@claim(
    "4/recall-from-damaged-keys",
    source="§4, “In the recall phase …”",
    printed="Presented with a distorted or incomplete key, an associative memory produces the associated value.",
    corrected="A linear memory produces the value weakened, by 1 − 2p if a part p of a ±1 key is flipped and by 1 − p "
    "if it is erased, plus crosstalk, so that signs are wrong with a known probability. A memory with attractors (§6) "
    "produces the value itself, from keys within the basin.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def recall_from_damaged_keys() -> Evidence:
    units, items, trials = 401, 61, 20
    key, value = signs(1, 400) / 20, signs(1, 30, seed=1)
    memory = memories.CorrelationMemory().store(key, value)

    def flipped(keys: Tensor, fraction: float) -> Tensor:
        return memories.flip(keys, fraction, generator=seeded(2))

    def erased(keys: Tensor, fraction: float) -> Tensor:
        return memories.erase(keys, fraction, generator=seeded(2))

    def error_rate(signal_to_noise: float) -> float:
        return 0.5 * math.erfc(math.sqrt(signal_to_noise / 2))

    intact = units / (items - 1)
    from_flipped = memory.recall(flipped(key, 0.25))
    from_erased = memory.recall(erased(key, 0.25))
    patterns = signs(15, 500, seed=3)
    damaged = torch.cat([flipped(patterns, 0.2), erased(patterns, 0.5)])
    attracted = memories.HopfieldNetwork().store(patterns).recall(damaged, generator=seeded(4))
    return Evidence(
        printed=(
            below("max |A f − g|, one pair, ¼ of the key flipped", largest(from_flipped - value), 1e-12),
            below("max |A f − g|, one pair, ¼ of the key erased", largest(from_erased - value), 1e-12),
        ),
        corrected=(
            below("max |A f − ½ g|, ¼ flipped", largest(from_flipped - 0.5 * value), 1e-12),
            below("max |A f − ¾ g|, ¼ erased", largest(from_erased - 0.75 * value), 1e-12),
            mean_of_trials(
                f"wrong signs of {items} values, N = {units}, 80 of 401 key entries flipped",
                bit_errors(items, units, trials, flipped, 0.2),
                error_rate((1 - 2 * 80 / units) ** 2 * intact),
            ),
            mean_of_trials(
                f"wrong signs of {items} values, N = {units}, 160 of 401 key entries erased",
                bit_errors(items, units, trials, erased, 0.4),
                error_rate((1 - 160 / units) * intact),
            ),
            below(
                "Hopfield network, 15 patterns of 500 units, 20 % flipped or 50 % erased: wrong bits of all 15 000",
                float((attracted != patterns.repeat(2, 1)).sum()),
                0.0,
            ),
        ),
    )


@claim(
    "4/load-definition",
    source="§4, q = s/N = s/(s + l)",
    printed="Of N neurons, s are used to store patterns and l = N − s can be used to learn; q = s/(s + l) is the share "
    "of the first.",
    corrected="s counts the stored patterns, and q = s/N, patterns per neuron, is the load: every neuron takes part in "
    "every pattern, and q may exceed 1.",
    verdict=Verdict.HOLDS_CORRECTED,
    note="Haykin's α in the Hopfield network's capacity is the same quotient.",
)
def load_definition() -> Evidence:
    units = 64
    before = memories.CorrelationMemory().store(signs(5, units))
    old = before.weights
    involved = float((before.store(signs(1, units, seed=1)).weights != old).any(dim=1).sum())
    patterns = signs(80, units, seed=2)
    moved = memories.DenseHopfield(3).store(patterns).recall(patterns, max_sweeps=1, generator=seeded())
    kept = int((moved == patterns).all(dim=1).sum())
    return Evidence(
        printed=(
            below("neurons that one more pattern uses, of 64", involved, 1.0),
            above("l = N − s, s patterns kept without a wrong bit by a dense memory, N = 64", float(units - kept), 0.0),
        ),
        corrected=(
            close("neurons that one more pattern uses, of 64", involved, 64.0, 0.0),
            above("load of the dense memory", memories.load(kept, units), 1.0),
            mean_of_trials("wrong signs at load 0.2, N = 205", bit_errors(41, 205, 40), memories.bit_error(41, 205)),
            mean_of_trials("wrong signs at load 0.2, N = 605", bit_errors(121, 605, 10), memories.bit_error(121, 605)),
            below(
                "difference between these two errors in theory",
                abs(memories.bit_error(41, 205) - memories.bit_error(121, 605)),
                1e-3,
            ),
        ),
    )


@claim(
    "4/small-load",
    source="§4, “for a small q, the performance may be very good”",
    printed="At a small load q = s/N recall is very good: its crosstalk has the variance (s − 1)/N, and signs are "
    "wrong with probability ½ erfc √(N/2(s − 1)).",
    verdict=Verdict.HOLDS,
    note="The seed gives no formula; these are the correlation memory's, for random keys.",
    figure=draw_crosstalk,
)
def small_load() -> Evidence:
    units = 401
    return Evidence(
        printed=(
            *(
                mean_of_trials(
                    f"mean squared crosstalk, s = {items}, N = {units}",
                    crosstalk(items, units, 40),
                    memories.crosstalk_variance(items, units),
                )
                for items in (5, 21, 101)
            ),
            *(
                mean_of_trials(
                    f"wrong signs, s = {items}, N = {units}",
                    bit_errors(items, units, 12),
                    memories.bit_error(items, units),
                )
                for items in (61, 121, 241)
            ),
            below("wrong signs of 60 150 at q = 0.04", float(bit_errors(15, units, 10).sum()) * 15 * units, 0.0),
            below("theory for them, expected number", memories.bit_error(15, units) * 15 * units * 10, 0.05),
        )
    )


@claim(
    "4/load-against-performance",
    source="§4, “we seek to make q as large as possible …”",
    printed="A demanded performance bounds the load: there is a largest q, and beyond it recall is too poor.",
    verdict=Verdict.HOLDS,
)
def load_against_performance() -> Evidence:
    demanded, units, trials = 0.01, 1001, 12
    first_step_error = memories.hopfield_theory.first_step_error
    largest_load = 0.5 / float(erfcinv(2 * demanded)) ** 2
    items = 1 + 2 * round(largest_load * units / 2)
    few, many = (1 + 2 * round(share * largest_load * units / 2) for share in (0.75, 1.5))
    return Evidence(
        printed=(
            close("½ erfc √(1/2q) at the largest q for 1 %", first_step_error(largest_load), demanded, 1e-15),
            mean_of_trials(
                f"wrong signs at q = {items / units:.4f}",
                bit_errors(items, units, trials),
                memories.bit_error(items, units),
            ),
            below(f"wrong signs at q = {few / units:.3f}", bit_errors(few, units, 2).max().item(), demanded),
            above(f"wrong signs at q = {many / units:.3f}", bit_errors(many, units, 2).min().item(), demanded),
        )
    )


@claim(
    "4/structure-and-task",
    source="§4, “Different network structures may be more suited for one task than the other”",
    printed="Network structures differ in their task: feedback, which completes a pattern turn by turn, serves "
    "autoassociation and not heteroassociation.",
    verdict=Verdict.HOLDS,
)
def structure_and_task() -> Evidence:
    units, items = 500, 40
    keys, values = signs(items, units), signs(items, units, seed=1)
    damaged = memories.flip(keys, 0.25, generator=seeded(2))
    auto = memories.HopfieldNetwork().store(keys)
    hetero = memories.CorrelationMemory().store(keys, values)

    def overlap(found: Tensor, wanted: Tensor) -> float:
        return memories.overlap(found, wanted).mean().item()

    once = auto.recall(damaged, update="synchronous", max_sweeps=1)
    at_rest = auto.recall(damaged, generator=seeded(3))
    recalled = hetero.recall(damaged).sign()
    fed_back = hetero.recall(recalled).sign()
    return Evidence(
        printed=(
            close("overlap of the damaged keys with the intact ones", overlap(damaged, keys), 0.5, 1e-12),
            below("autoassociative: lack of overlap after one turn", 1 - overlap(once, keys), 0.25),
            below("the same when the feedback has come to rest", 1 - overlap(at_rest, keys), 0.01),
            above("heteroassociative: overlap of the recalled values", overlap(recalled, values), 0.75),
            mean_of_trials("overlap with the values after another turn", memories.overlap(fed_back, values), 0.0),
        )
    )


def _effects_of_inputs(weight: float, steps: int) -> Tensor:
    """∂y(n)/∂x(m) of the feedback loop, (steps, steps), exact by differentiation."""

    def outputs(inputs: Tensor) -> Tensor:
        return dynamics.simulate(torch.tensor([weight], dtype=torch.float64), inputs[None])[0]

    jacobian: Tensor = torch.func.jacrev(outputs)(torch.zeros(steps, dtype=torch.float64))
    return jacobian
