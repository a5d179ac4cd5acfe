"""§1 Problem description."""

from __future__ import annotations

import torch
from torch import Tensor

from fastweights import memories
from fastweights.cells.fast_weights import FastWeightRNN
from fastweights.claims._pictures_memory import draw_forgetting
from fastweights.claims._trials_memory import forgetting_noise, largest, mean_of_trials, normal
from fastweights.claims.base import Evidence, Verdict, above, below, claim
from fastweights.memories.base import Kind


@claim(
    "1/no-good-way-before",
    source="§1, sentence 1",
    printed="Until recently, recurrent networks had no good way to share memory between sequences.",
    verdict=Verdict.NOT_CHECKABLE,
    note="What recurrent networks can hold is measured under §2.",
)
def no_good_way_before() -> Evidence:
    return Evidence(why_not="“good” and “until recently” are judgements on a literature, and state no quantity")


@claim(
    "1/memory-between-sequences",
    source="§1, sentence 2; §2, “sequence-to-sequence memory”",
    printed="The fast weights share memory between sequences: what one leaves behind is used in the upcoming one.",
    corrected="The memory reaches from step to step within a sequence. Every sequence starts from A = 0 and h = 0, so "
    "that nothing of an earlier one is left; only a caller who hands the state on joins the two.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def memory_between_sequences() -> Evidence:
    layer = _layer()
    first, other, second = normal(3, 12, 8, seed=1)

    def after(before: Tensor, *, joined: bool) -> Tensor:
        _, state = layer(before)
        out: Tensor = layer(second, state if joined else None)[0]
        return out

    apart = largest(after(first, joined=False) - after(other, joined=False))
    joined = largest(after(first, joined=True) - after(other, joined=True))
    return Evidence(
        printed=(above("largest change of a sequence's outputs when another one ran before it", apart, 1e-3),),
        corrected=(
            below("the same change", apart, 0.0),
            above("the same change if the caller hands the state on", joined, 1e-3),
            above("change of the last of 12 outputs when only the first input changes, W = 0", _reach(0.5), 1e-3),
            below("the same change without fast weights, η = 0", _reach(0.0), 0.0),
        ),
    )


@claim(
    "1/stores-the-sequence",
    source="§1, sentence 2",
    printed="Fast weights can store information about a sequence during its duration.",
    verdict=Verdict.HOLDS,
    note="What is stored fades: an item of age a is recalled with a signal of λ^{2a}, against the crosstalk of about "
    "1/(1 − λ²) others.",
    figure=draw_forgetting,
)
def stores_the_sequence() -> Evidence:
    out, state = _layer()(normal(12, 8, seed=1))
    written = memories.DecayingMemory(0.95, 0.5).store(out).weights
    decay, units, items = 0.95, 100, 150
    kinds: tuple[Kind, ...] = ("heteroassociative", "autoassociative")
    noise = {kind: forgetting_noise(decay, units, items, kind, trials=200) for kind in kinds}
    return Evidence(
        printed=(
            below("max |A(T) − Σ_t λ^{T−t} η h(t) h(t)ᵀ|, T = 12", largest(state.fast_weights - written), 1e-12),
            *(
                mean_of_trials(
                    f"{kind} noise over signal at age {age}, N = {units}, λ = {decay}",
                    noise[kind][:, age] / decay ** (2 * age),
                    1 / memories.signal_to_noise(decay, units, age, items=items, kind=kind),
                )
                for kind in kinds
                for age in (0, 10, 40)
            ),
        ),
    )


@claim(
    "1/efficacy",
    source="Title; §1, sentence 3",
    printed="Fast weights are effective: on associative retrieval they do better than an iRNN and an LSTM.",
    verdict=Verdict.NOT_CHECKABLE,
    note="The experiment is `fastweights reproduce table-1`; what it measured is under results/table-1.",
)
def efficacy() -> Evidence:
    return Evidence(why_not="decided by training networks over several seeds, not by a proof or a short computation")


def _layer(fast_learning_rate: float = 0.5) -> FastWeightRNN:
    """The paper's layer with 16 units, its parameters drawn from a seed without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FastWeightRNN(
            8, 16, fast_learning_rate=fast_learning_rate, backend="reference", dtype=torch.float64
        ).requires_grad_(False)


def _reach(fast_learning_rate: float) -> float:
    """How far the last of 12 outputs follows a change of the first input if W = 0, so that only A reaches back."""
    layer = _layer(fast_learning_rate)
    layer.weight_hh.zero_()
    inputs = normal(12, 8, seed=1)
    changed = inputs.clone()
    changed[0] = normal(8, seed=2)
    return largest(layer(inputs)[0][-1] - layer(changed)[0][-1])
