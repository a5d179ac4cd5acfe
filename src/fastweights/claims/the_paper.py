"""Ba et al. (2016)."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from fastweights import kernels
from fastweights.claims._trained_loop import contraction_along_run
from fastweights.claims.base import Evidence, Verdict, above, below, claim, close
from fastweights.dynamics import contraction
from fastweights.kernels.activations import Activation, activation_function
from fastweights.memories import DecayingMemory, random_signs, signal_to_noise, window
from fastweights.training.config import RunConfig
from fastweights.training.loop import complete, train
from fastweights.training.records import RunDirectory
from fastweights.types import FastWeightState

_EPSILON = torch.finfo(torch.float64).eps


@claim(
    "paper/attention",
    source="Ba et al. (2016), eqs. 3 and 4",
    printed="A(t) h_s = η Σ_{τ=1..t} λ^{t−τ} h(τ) [h(τ)ᵀ h_s]: the fast weights are attention to the recent past.",
    verdict=Verdict.HOLDS,
)
def attention() -> Evidence:
    draw = torch.Generator().manual_seed(15)
    batch, steps, size = 4, 40, 50
    W = (0.05 * torch.eye(size, dtype=torch.float64)).requires_grad_()
    z = torch.randn(batch, steps, size, dtype=torch.float64, generator=draw).requires_grad_()
    gain, bias = W.new_ones(size), W.new_zeros(size)
    pull = torch.randn(batch, steps, size, dtype=torch.float64, generator=draw)

    def run(backend: kernels.Backend) -> tuple[Tensor, ...]:
        out, after = kernels.fast_weights(
            z, W, gain, bias, decay=0.95, fast_learning_rate=0.5, inner_steps=2, backend=backend
        )
        return out, after.fast_weights, *torch.autograd.grad((out * pull).sum(), (z, W))

    def apart(explicit: Tensor, attending: Tensor) -> float:
        return float((explicit - attending).detach().abs().max() / explicit.detach().abs().max())

    # A sum of T H terms in another order differs by at most T H roundings of its largest term, once a step.
    tolerance = steps * steps * size * _EPSILON
    names = ("h(1) … h(40)", "A(40)", "gradient of the inputs", "gradient of W")
    return Evidence(
        printed=tuple(
            below(f"relative difference of the two forms, {name}", apart(explicit, attending), tolerance)
            for name, explicit, attending in zip(names, run("reference"), run("attention"), strict=True)
        ),
    )


@claim(
    "paper/layer-norm-bounds-the-loop",
    source="Ba et al. (2016), eq. 5 and the paragraph before it",
    printed="Layer norm keeps the inner loop from exploding, however large the fast weights are.",
    verdict=Verdict.HOLDS,
    note="With gain 1 and bias 0 layer norm returns a vector of norm at most √H, and ReLU does not lengthen it.",
)
def layer_norm_bounds_the_loop() -> Evidence:
    with_norm = {scale: inner_loop_norm(scale, layer_norm=True) for scale in (1.0, 1e3, 1e6)}
    without = inner_loop_norm(1.0, layer_norm=False)
    return Evidence(
        printed=(
            *(
                below(f"‖h_10‖, H = 50, ‖A‖₂ = {scale:g}·10", norm, 50**0.5 * (1 + 50 * _EPSILON))
                for scale, norm in with_norm.items()
            ),
            above("‖h_10‖ without layer norm, ‖A‖₂ = 10", without, 1e6),
        ),
    )


def inner_loop_norm(scale: float, *, layer_norm: bool) -> float:
    """‖h_10‖ after ten inner steps of eq. 5 with a random A = Σ h hᵀ of norm 10 · `scale`."""
    draw = torch.Generator().manual_seed(16)
    stored = torch.rand(20, 50, dtype=torch.float64, generator=draw)
    A = stored.T @ stored
    A = A * (10 * scale / torch.linalg.matrix_norm(A, 2))
    z = torch.randn(1, 1, 50, dtype=torch.float64, generator=draw)
    gain, bias = (z.new_ones(50), z.new_zeros(50)) if layer_norm else (None, None)
    out, _ = kernels.fast_weights(
        z,
        z.new_zeros(50, 50),
        gain,
        bias,
        decay=0.95,
        fast_learning_rate=0.5,
        inner_steps=10,
        state=FastWeightState(z.new_zeros(1, 50), A[None]),
        backend="reference",
    )
    return float(out.norm())


@claim(
    "paper/inner-loop-settles",
    source="Ba et al. (2016), §3, the inner loop while A(t) is held",
    printed="The inner loop settles on one vector.",
    corrected="With A held it does if Lip(f∘LN) ‖A‖₂ < 1, and each inner step then brings it nearer by that factor at "
    "least. A larger A, of one stored h even, can keep it in a cycle.",
    verdict=Verdict.HOLDS_CORRECTED,
    note="The condition is sufficient, not necessary. Lip(f∘LN) = max |gain|/√ε for layer norm with ε in its variance.",
)
def inner_loop_settles() -> Evidence:
    stored, unsettled = torch.tensor([[5.0, 4.0, 2.0], [-4.0, 3.0, 11.0]], dtype=torch.float64)
    cycle = inner_moves(torch.outer(stored, stored), unsettled, steps=200)
    draw = torch.Generator().manual_seed(17)
    A, boundary = (
        torch.randn(8, 8, dtype=torch.float64, generator=draw),
        torch.randn(8, dtype=torch.float64, generator=draw),
    )
    A = A * (0.9 * 0.1**0.5 / torch.linalg.matrix_norm(A, 2))
    ones, zeros = A.new_ones(8), A.new_zeros(8)
    bound = contraction(A[None], boundary[None], ones, zeros, torch.tanh, norm_epsilon=0.1).everywhere.item()
    moves = inner_moves(A, boundary, steps=40, activation="tanh", norm_epsilon=0.1)
    return Evidence(
        printed=(
            below(
                "‖h_200 − h_199‖, ReLU, A = h hᵀ with h = (5, 4, 2), W h + C x = (−4, 3, 11)", float(cycle[-1]), 1e-6
            ),
        ),
        corrected=(
            close("Lip(f∘LN) ‖A‖₂", bound, 0.9, 1e-12),
            below("largest ‖h_{s+1} − h_s‖ / ‖h_s − h_{s−1}‖", float((moves[1:10] / moves[:9]).max()), bound),
            below("‖h_40 − h_39‖ / ‖h_1 − h_0‖, against 0.9³⁹", float(moves[-1] / moves[0]), bound**39),
        ),
    )


def inner_moves(
    A: Tensor, boundary: Tensor, steps: int, *, activation: Activation = "relu", norm_epsilon: float = 1e-5
) -> Tensor:
    """‖h_1 − h_0‖ … ‖h_S − h_{S−1}‖ of eq. 5 with A held; h_0 = f(boundary)."""
    ones, zeros = A.new_ones(len(A)), A.new_zeros(len(A))
    path = [activation_function(activation)(boundary)]
    for count in range(1, steps + 1):
        out, _ = kernels.fast_weights(
            boundary[None, None],
            torch.zeros_like(A),
            ones,
            zeros,
            decay=1.0,
            fast_learning_rate=0.0,
            inner_steps=count,
            activation=activation,
            norm_epsilon=norm_epsilon,
            state=FastWeightState(zeros[None], A[None]),
            backend="reference",
        )
        path.append(out[0, 0])
    moves: Tensor = torch.stack(path).diff(dim=0).norm(dim=1)
    return moves


@claim(
    "paper/trained-inner-loop-contracts",
    source="Ba et al. (2016), §3, with the criterion of paper/inner-loop-settles",
    printed="In a trained network Lip(f∘LN) ‖A‖₂ < 1 shows that the inner loop settles.",
    corrected="In a trained network that bound is far above 1 and shows nothing. Where the loop runs it contracts all "
    "the same: at 95 % of the steps at least, the norm of its Jacobian there is below 1.",
    verdict=Verdict.HOLDS_CORRECTED,
    note="A run of 300 updates on associative retrieval with one pair, R = 20, S = 2; 50 test sequences.",
)
def trained_inner_loop_contracts() -> Evidence:
    config = RunConfig(
        hidden_size=20,
        cell_options={"inner_steps": 2, "decay": 0.9},
        task_options={"num_pairs": 1},
        train_size=5_000,
        validation_size=100,
        test_size=200,
        updates=300,
        evaluate_every=300,
        seed=19,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder), complete(config))
        train(run, stop=lambda: False, notify=lambda metrics: None)
        log = contraction_along_run(run, sequences=50)
        result = run.result()
    assert result is not None
    later = log.fast_weight_norm > 0  # A(0) = 0: every sequence's first step contracts to a point
    return Evidence(
        printed=(below("largest Lip(f∘LN) ‖A‖₂", float(log.everywhere.max()), 1.0),),
        corrected=(
            above("smallest Lip(f∘LN) ‖A‖₂ after the first step", float(log.everywhere[later].min()), 1.0),
            above("share of steps at which ‖∂h_{s+1}/∂h_s‖₂ < 1", float((log.exact[later] < 1).double().mean()), 0.95),
            below("share of wrong answers of that run", result["test_errors"] / result["test_count"], 0.05),
        ),
    )


@claim(
    "paper/decaying-memory",
    source="Ba et al. (2016), §3.1: fast weights hold the recent past",
    printed="An item fades as λ^age against the crosstalk of all others, which is that of 1/(1 − λ²) undecayed items.",
    verdict=Verdict.HOLDS,
    note="h hᵀ of every step is also a mean crosstalk along the key itself: see `memories.signal_to_noise`.",
)
def decaying_memory() -> Evidence:
    units, decay, items = 200, 0.95, 150
    measurements = []
    for age in (0, 5, 20):
        expected = signal_to_noise(decay, units, age, items=items, kind="autoassociative")
        noise, error = recall_noise(units, decay, items, age)
        measurements.append(
            close(
                f"noise/signal of recall at age {age}, N = 200, λ = 0.95; ± 4 standard errors",
                noise,
                1 / expected,
                4 * error,
            )
        )
    power, error = stranger_power(units, decay, items)
    return Evidence(
        printed=(
            *measurements,
            close("N · power recalled by a key never stored; ± 4 standard errors", power, window(decay), 4 * error),
        ),
    )


def recall_noise(units: int, decay: float, items: int, age: int, trials: int = 400) -> tuple[float, float]:
    """Mean squared error of recall over signal power at one age, and its standard error over independent memories."""
    draw = torch.Generator().manual_seed(age)
    ratios = []
    for _ in range(trials):
        patterns = random_signs(items, units, generator=draw, dtype=torch.float64)
        key = patterns[items - 1 - age]
        recalled = DecayingMemory(decay).store(patterns).recall(key) / units
        ratios.append((recalled / decay**age - key).square().mean())
    found = torch.stack(ratios)
    return float(found.mean()), float(found.std()) / math.sqrt(trials)


def stranger_power(units: int, decay: float, items: int, trials: int = 400) -> tuple[float, float]:
    """N times the mean square of what a random key recalls, and its standard error: one stored item alone gives 1."""
    draw = torch.Generator().manual_seed(18)
    powers = []
    for _ in range(trials):
        keys, values = (random_signs(items, units, generator=draw, dtype=torch.float64) for _ in range(2))
        stranger = random_signs(1, units, generator=draw, dtype=torch.float64)
        recalled = DecayingMemory(decay).store(keys, values).recall(stranger) / units
        powers.append(units * recalled.square().mean())
    found = torch.stack(powers)
    return float(found.mean()), float(found.std()) / math.sqrt(trials)
