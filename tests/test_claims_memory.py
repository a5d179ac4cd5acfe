"""The claims about memories turn red when the code that they check is broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from fastweights import dynamics, memories
from fastweights.cells.fast_weights import FastWeightRNN
from fastweights.cells.tapped_delay import TappedDelayLine
from fastweights.claims import load
from fastweights.claims.base import Claim, Verdict, run
from fastweights.memories import hopfield, hopfield_theory

# The claims over and over; test_verify.py runs each with its annotations checked.
pytestmark = pytest.mark.usefixtures("as_installed")

SECTIONS = ("section_1_problem", "section_4_memory", "section_4_1_associative_memory", "section_6_hopfield")
CLAIMS: dict[str, Claim] = {claim.id: claim for section in SECTIONS for claim in load(section)[1]}

Break = Callable[[pytest.MonkeyPatch], None]


def wrapped(owner: object, name: str, wrong: Callable[..., object]) -> Break:
    """Replace owner.name by `wrong`, which gets the original as its first argument."""

    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **kwargs: wrong(original, *args, **kwargs))

    return apply


def negated(owner: object, name: str) -> Break:
    return wrapped(owner, name, lambda original, *args, **kwargs: -original(*args, **kwargs))


def doubled(owner: object, name: str) -> Break:
    return wrapped(owner, name, lambda original, *args, **kwargs: 2 * original(*args, **kwargs))


def storage_rule(name: str, wrong: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Break:
    return lambda monkeypatch: monkeypatch.setitem(hopfield._RULES, name, wrong)


def state_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer goes on from where its last call ended."""
    scan = FastWeightRNN.scan
    left: dict[int, object] = {}

    def remembering(self, z, state=None, lengths=None):
        out, left[id(self)] = scan(self, z, state or left.get(id(self)), lengths)
        return out, left[id(self)]

    monkeypatch.setattr(FastWeightRNN, "scan", remembering)


def symmetrised(original: Callable[..., object], weights: torch.Tensor) -> object:
    return original((weights + weights.T) / 2)


def settling_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hopfield, "_together", lambda W, x, sweeps: hopfield._one_by_one(W, x, sweeps, None))


BREAKS: dict[str, Break] = {
    "1/memory-between-sequences": state_left_behind,
    "1/stores-the-sequence": wrapped(
        memories.DecayingMemory, "_learn", lambda learn, self, A, f, g: learn(self, A, f.flip(0), g.flip(0))
    ),
    "4/time-outside-the-network": wrapped(
        TappedDelayLine, "remember", lambda original, *args: (original(*args)[0].flip(2), original(*args)[1])
    ),
    "4/time-inside-by-feedback": wrapped(dynamics, "simulate", lambda original, w, x: original(-w, x)),
    "4/feedback-delays": wrapped(dynamics, "simulate", lambda original, w, x: original(w, x.roll(-1, dims=1))),
    "4/local-and-global-feedback": negated(dynamics, "jacobian"),
    "4/recall-from-damaged-keys": wrapped(
        memories, "flip", lambda _, x, fraction, generator: memories.erase(x, fraction, generator=generator)
    ),
    "4/load-definition": wrapped(memories, "load", lambda original, items, units: original(units, items)),
    "4/small-load": doubled(memories, "crosstalk_variance"),
    "4/load-against-performance": doubled(memories, "bit_error"),
    "4/structure-and-task": storage_rule("hebb", lambda W, x: W - x.T @ x / len(W)),
    "4.1/one-pair": negated(memories.CorrelationMemory, "_learn"),
    "4.1/orthogonal-keys": negated(memories.CorrelationMemory, "_learn"),
    "4.1/outer-products-generalise-hebb": negated(memories, "hebb"),
    "4.1/weight-update": doubled(memories, "hebb"),
    "4.1/order-of-the-product": wrapped(memories, "hebb_flow", lambda flow, W, C, time: flow(W, C, -time)),
    "4.1/correlation-matrix": wrapped(memories.learning, "correlation", lambda original, x: original(x[:1])),
    "4.1/zero-weights-one-update": doubled(memories.CorrelationMemory, "_learn"),
    "4.1/no-convergence": lambda monkeypatch: monkeypatch.setattr(memories, "oja", memories.hebb),
    "4.1/one-update-suffices": lambda monkeypatch: monkeypatch.setattr(
        memories.DeltaMemory, "_learn", lambda self, A, f, g: A + self.epochs * g.T @ f
    ),
    "4.1/keys-in-general": doubled(memories, "crosstalk_variance"),
    "6/storage-rule": storage_rule("hebb", lambda W, x: W + x.T @ x),
    "6/suited-to-autoassociation": storage_rule("hebb", lambda W, x: W - x.T @ x / len(W)),
    "6/additive-model": wrapped(
        memories.ContinuousHopfield, "field", lambda field, self, x: field(self, x) + 2 * x / self.time_constant
    ),
    "6/energy": wrapped(hopfield, "align", lambda align, x, field, rounding: align(x, -field, rounding)),
    "6/energy-needs-symmetry": wrapped(memories.HopfieldNetwork, "from_weights", symmetrised),
    "6/synchronous-cycles": settling_one_by_one,
    "6/spurious-states": storage_rule("hebb", lambda W, x: W - x.T @ x / len(W)),
    "6/capacity": wrapped(hopfield_theory, "retrieval_overlap", lambda m, load: m(0.9 * load)),
    "6/first-step-error": wrapped(hopfield_theory, "first_step_error", lambda error, load: error(load / 2)),
    "6/error-free-capacity": doubled(hopfield_theory, "error_free_capacity"),
    "6/storkey": storage_rule("storkey", lambda W, x: W + x.T @ x / len(W)),
    "6/pseudo-inverse": storage_rule("pseudo-inverse", lambda W, x: W + x.T @ x / len(W)),
    "6/dense-capacity": wrapped(
        memories.DenseHopfield, "_energy_at", lambda _, self, sums: -(sums**2).sum(dim=-1) / self.patterns.shape[1]
    ),
    "6/modern-capacity": wrapped(
        memories,
        "modern_capacity",
        lambda original, *args, **kwargs: original(*args, **kwargs, failure_probability=0.01),
    ),
}


def test_every_checkable_claim_has_a_way_to_break() -> None:
    checkable = {id for id, claim in CLAIMS.items() if claim.verdict is not Verdict.NOT_CHECKABLE}
    assert set(BREAKS) == checkable


@pytest.mark.parametrize("id", BREAKS)
def test_a_claim_turns_red_when_its_code_is_broken(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BREAKS[id](monkeypatch)
    result = run(CLAIMS[id])
    assert not result.agrees
    assert not result.error, "a break should give wrong numbers, not an exception"


def test_signal_to_noise_of_the_reference_list() -> None:
    # 18.1 by the formula; 18.05 was measured there.
    ratio = memories.signal_to_noise(0.95, 200, 0, kind="autoassociative")
    assert ratio == pytest.approx(18.1, abs=0.06)
    assert memories.window(0.95) == pytest.approx(10.26, abs=5e-3)
