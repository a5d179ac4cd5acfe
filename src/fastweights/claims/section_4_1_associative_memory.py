"""§4.1 A simple example of an associative memory model."""

from __future__ import annotations

import math

import sympy
import torch
from torch import Tensor

from fastweights import memories
from fastweights.claims._pictures_memory import draw_hebb_divergence
from fastweights.claims._trials_memory import (
    correlated_inputs,
    crosstalk,
    largest,
    mean_of_trials,
    normal,
    orthonormal,
    seeded,
)
from fastweights.claims.base import Evidence, Verdict, above, below, claim, close, fact


@claim(
    "4.1/one-pair",
    source="§4.1, g′ = A f",
    printed="A matrix A = η g fᵀ that stores one pair recalls g′ = A f ∝ g.",
    verdict=Verdict.HOLDS,
)
def one_pair() -> Evidence:
    f, g = sympy.Matrix(sympy.symbols("f1:4")), sympy.Matrix(sympy.symbols("g1:3"))
    learning_rate = sympy.Symbol("eta")
    difference = (learning_rate * g * f.T * f - learning_rate * f.dot(f) * g).expand()
    key, value = normal(1, 64), normal(1, 8, seed=1)
    recalled = memories.CorrelationMemory(0.5).store(key, value).recall(key)
    return Evidence(
        printed=(
            fact("η g fᵀ f = η ‖f‖² g, symbolically", difference.is_zero_matrix),
            below("max |A f − η ‖f‖² g|, 64 key entries", largest(recalled - 0.5 * key.square().sum() * value), 1e-12),
        )
    )


@claim(
    "4.1/orthogonal-keys",
    source="§4.1, A f_j = g_j",
    printed="With orthogonal keys f_i and A = Σ g_i f_iᵀ, recall is perfect: A f_j = g_j for all j.",
    corrected="With orthogonal keys, A f_j = ‖f_j‖² g_j; with orthonormal keys, A f_j = g_j.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def orthogonal_keys() -> Evidence:
    unit = orthonormal(20, 64)
    norms = torch.linspace(0.5, 2.0, 20, dtype=torch.float64).unsqueeze(1)
    values = normal(20, 8, seed=1)

    def error(keys: Tensor, expected: Tensor) -> float:
        return largest(memories.CorrelationMemory().store(keys, values).recall(keys) - expected)

    return Evidence(
        printed=(below("max |A f_j − g_j|, 20 orthogonal keys of norms ½ … 2", error(norms * unit, values), 1e-12),),
        corrected=(
            below("max |A f_j − ‖f_j‖² g_j|, the same keys", error(norms * unit, norms**2 * values), 1e-12),
            below("max |A f_j − g_j|, 20 orthonormal keys", error(unit, values), 1e-12),
        ),
    )


@claim(
    "4.1/outer-products-generalise-hebb",
    source="§4.1, “the generalization of Hebb's postulate of learning”",
    printed="Storing by outer products is Hebbian learning: Δw_ij = α x_j y_i with the key as x and the value as y.",
    verdict=Verdict.HOLDS,
)
def outer_products_generalise_hebb() -> Evidence:
    keys, values = normal(6, 12), normal(6, 5, seed=1)
    # A teacher wired straight to the output, y = W x + g, holds it at g as long as W is zero.
    taught = torch.cat([torch.zeros(5, 12, dtype=torch.float64), torch.eye(5, dtype=torch.float64)], dim=1)
    learned = memories.hebb(taught, torch.cat([keys, values], dim=1))[:, :12]
    stored = memories.CorrelationMemory(1 / 6).store(keys, values).weights
    written = torch.einsum("pi,pj->ij", values, keys) / 6
    return Evidence(
        printed=(
            below("max |Hebbian ΔW, output held at g − A|, six pairs, α = 1/6", largest(learned - stored), 1e-14),
            below("max |A_ij − α Σ_p y_i x_j|", largest(stored - written), 1e-14),
        )
    )


@claim(
    "4.1/weight-update",
    source="§4.1, Δw_ij = α Σ_k w_ik x_j x_k",
    printed="With y = W x, the update Δw_ij = α x_j y_i is α Σ_k w_ik x_j x_k.",
    verdict=Verdict.HOLDS,
)
def weight_update() -> Evidence:
    W = sympy.Matrix(2, 3, sympy.symbols("w:2:3"))
    x = sympy.Matrix(sympy.symbols("x:3"))
    step = (W * x) * x.T
    summed = sympy.Matrix(2, 3, lambda i, j: sum(W[i, k] * x[j] * x[k] for k in range(3)))
    weights, inputs = normal(2, 3), normal(1, 3, seed=1)
    expected = torch.einsum("ik,j,k->ij", weights, inputs[0], inputs[0])
    return Evidence(
        printed=(
            fact("y xᵀ has the entries Σ_k w_ik x_j x_k, symbolically", (step - summed).expand().is_zero_matrix),
            below("max |Hebb's rule − that sum|", largest(memories.hebb(weights, inputs) - expected), 1e-14),
        )
    )


@claim(
    "4.1/order-of-the-product",
    source="§4.1, dW(t)/dt = C W(t)",
    printed="In the limit of small steps, dW/dt = C W.",
    corrected="dW/dt = W C: W is m×n and C is n×n. The matrices as written out are d(Wᵀ)/dt = C Wᵀ, which is the same.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def order_of_the_product() -> Evidence:
    inputs = correlated_inputs()
    C = memories.learning.correlation(inputs)
    wide, square = normal(2, 3, seed=1), normal(3, 3, seed=2)
    error = largest(_small_steps(0.01, wide) - memories.hebb_flow(wide, C, 1.0))
    halved = largest(_small_steps(0.005, wide) - memories.hebb_flow(wide, C, 1.0))
    return Evidence(
        printed=(
            fact("C W is defined for m = 2, n = 3", C.shape[1] == wide.shape[0], "(3, 3) times (2, 3)"),
            below("max |ΔW/α − C W|, m = n = 3", largest(memories.hebb(square, inputs) - C @ square), 1e-12),
        ),
        corrected=(
            below("max |ΔW/α − W C|, m = n = 3", largest(memories.hebb(square, inputs) - square @ C), 1e-12),
            below("max |ΔW/α − W C|, m = 2", largest(memories.hebb(wide, inputs) - wide @ C), 1e-12),
            below("max |(ΔW/α)ᵀ − C Wᵀ|, m = 2", largest(memories.hebb(wide, inputs).T - C @ wide.T), 1e-12),
            # Euler's error is c α + O(α²), so that halving α halves it up to a part of order α.
            close("error of the steps at α = 0.01 over that at 0.005, W(1) = W(0) e^C", error / halved, 2.0, 0.05),
        ),
    )


@claim(
    "4.1/correlation-matrix",
    source="§4.1, the matrix with entries x_j x_k, “as Δt → 0”",
    printed="The matrix C of the limit has the entries x_j x_k of the input.",
    corrected="C = E[x xᵀ]: while W moves by a fixed amount in ever smaller steps, ever more inputs pass, and only "
    "their average acts. One input's x xᵀ is the matrix of one step only.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def correlation_matrix() -> Evidence:
    inputs, weights, time = correlated_inputs(), normal(2, 3, seed=1), 0.5
    order = torch.randint(len(inputs), (20_000,), generator=seeded(3))

    def from_samples(steps: int) -> Tensor:
        return memories.learn(memories.hebb, weights, inputs[order[:steps]], learning_rate=time / steps)[-1]

    limit = memories.hebb_flow(weights, memories.learning.correlation(inputs), time)
    of_one = memories.hebb_flow(weights, memories.learning.correlation(inputs[order[:1]]), time)
    scale = largest(limit)
    coarse, fine = (largest(from_samples(steps) - limit) / scale for steps in (200, 20_000))
    return Evidence(
        printed=(
            below(
                "relative distance of 20 000 small steps from the flow of one x xᵀ",
                largest(from_samples(20_000) - of_one) / scale,
                0.05,
            ),
        ),
        corrected=(
            below("relative distance from the flow of E[x xᵀ]", fine, 0.05),
            # The samples' noise sums to O(√α): a tenth for a hundred times as many steps, and a factor of 3 for chance.
            below("the same over that of 200 larger steps", fine / coarse, 0.3),
        ),
    )


@claim(
    "4.1/zero-weights-one-update",
    source="§4.1, “the weights matrix initially being the zero matrix …”",
    printed="From zero weights, one update Δw_ij = α x_j y_i with y = W x makes a memory that recalls perfectly.",
    corrected="With y = W x zero weights stay zero. The output must be held at the value g, with orthonormal keys and "
    "one update for each pattern; then recall is perfect.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def zero_weights_one_update() -> Evidence:
    pattern = orthonormal(1, 12)
    zero = torch.zeros(12, 12, dtype=torch.float64)
    free = memories.learn(memories.hebb, zero, pattern, learning_rate=1.0)[-1]
    patterns = orthonormal(5, 12, seed=1)
    held = memories.CorrelationMemory()
    for each in patterns:
        held.store(each[None])
    return Evidence(
        printed=(below("max |W f − f| after one update from zero", largest(pattern @ free.T - pattern), 1e-12),),
        corrected=(
            below("max |W| after it", largest(free), 0.0),
            below(
                "max |A f − f|, output held, one update for each of 5 orthonormal patterns",
                largest(held.recall(patterns) - patterns),
                1e-12,
            ),
        ),
    )


@claim(
    "4.1/no-convergence",
    source="§4.1, “In general the linear system just described will not converge …”",
    printed="Plain Hebbian learning diverges unless it is constrained.",
    verdict=Verdict.HOLDS,
    note="‖W(t)‖ grows as e^{λt}, λ the largest eigenvalue of C. Oja's rule and a decay above λ are such constraints.",
    figure=draw_hebb_divergence,
)
def no_convergence() -> Evidence:
    inputs, weights = correlated_inputs(), normal(1, 3, seed=1)
    C = memories.learning.correlation(inputs)
    top = torch.linalg.eigvalsh(C)[-1].item()
    gap = top - torch.linalg.eigvalsh(C)[-2].item()
    time, steps = 20.0, 2000

    def growth(flow: Tensor) -> float:
        """Exponent over the second half of the time."""
        return math.log(flow[-1].norm() / flow[steps // 2].norm()) / (time / 2)

    plain = memories.integrate(memories.hebb, weights, inputs, duration=time, steps=steps)
    damped = memories.integrate(memories.DecayingHebb(1.2 * top), weights, inputs, duration=time, steps=steps)
    normalised = memories.integrate(memories.oja, weights, inputs, duration=time, steps=steps)
    closed = memories.oja_flow(weights, C, time)
    # The other directions are e^{−gap t} of the leading one; the method's own error is (λ dt)⁵/120 a step.
    tolerance = math.exp(-gap * time / 2) + top * (top * time / steps) ** 4
    return Evidence(
        printed=(
            close("growth rate of ‖W(t)‖ against the largest eigenvalue of C", growth(plain), top, tolerance),
            above("growth rate of ‖W(t)‖", growth(plain), 1.0),
            close("with decay γ = 1.2 λ, growth rate against λ − γ", growth(damped), -0.2 * top, tolerance),
            close("Oja's rule: ‖w‖ at t = 20", normalised[-1].norm().item(), 1.0, tolerance),
            below("Oja's rule: distance from its closed form", largest(normalised[-1] - closed), tolerance),
        )
    )


@claim(
    "4.1/one-update-suffices",
    source="§4.1, “given orthogonal key patterns only one weight update is needed …”",
    printed="Given orthogonal keys, only one weight update is needed.",
    corrected="Given orthonormal keys, one update for each pair is needed and no more: a second pass doubles what "
    "Hebb's rule recalls, while the delta rule rests there.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def one_update_suffices() -> Evidence:
    keys, values = orthonormal(10, 32), normal(10, 6, seed=1)
    first = memories.CorrelationMemory().store(keys[:1], values[:1])
    every = memories.CorrelationMemory().store(keys, values)
    once = largest(every.recall(keys) - values)
    twice = largest(every.store(keys, values).recall(keys) - 2 * values)
    again = largest(memories.DeltaMemory(epochs=5).store(keys, values).recall(keys) - values)
    return Evidence(
        printed=(below("max |A f_j − g_j| of 10 pairs after one update", largest(first.recall(keys) - values), 1e-12),),
        corrected=(
            below("max |A f_j − g_j| after 10 updates, one a pair", once, 1e-12),
            below("max |A f_j − 2 g_j| after a second pass", twice, 1e-12),
            below("max |A f_j − g_j| after 5 passes of the delta rule", again, 1e-12),
        ),
    )


@claim(
    "4.1/keys-in-general",
    source="§4.1, “Since not all sets of key values are orthogonal …”",
    printed="For keys that are not orthogonal this memory is inadequate.",
    verdict=Verdict.HOLDS,
    note="More than N keys are never all orthogonal. For linearly independent ones the pseudo-inverse memory is exact.",
)
def keys_in_general() -> Evidence:
    units, items = 100, 31
    keys = memories.random_unit_vectors(items, units, generator=seeded(), dtype=torch.float64)
    values = normal(items, 8, seed=1)

    def error(memory: memories.CorrelationMemory | memories.PseudoInverseMemory) -> float:
        return largest(memory.store(keys, values).recall(keys) - values)

    crowded = memories.random_unit_vectors(units + 1, units, generator=seeded(2), dtype=torch.float64)
    rank = float(torch.linalg.matrix_rank(crowded @ crowded.T))
    return Evidence(
        printed=(
            mean_of_trials(
                "mean squared crosstalk of 31 random keys of 100 entries, relative to the values'",
                crosstalk(items, units, 40),
                memories.crosstalk_variance(items, units),
            ),
            above("max |A f_j − g_j|", error(memories.CorrelationMemory()), 0.5),
            below("max |A f_j − g_j| of the pseudo-inverse memory", error(memories.PseudoInverseMemory()), 1e-10),
            close("rank of the products f_iᵀf_j of 101 keys of 100 entries, 101 if orthogonal", rank, 100.0, 0.0),
        )
    )


def _small_steps(learning_rate: float, weights: Tensor) -> Tensor:
    """W after time 1 in averaged Hebbian steps."""
    epochs = round(1 / learning_rate)
    path = memories.learn(
        memories.hebb, weights, correlated_inputs(), learning_rate=learning_rate, epochs=epochs, batch_size=None
    )
    return path[-1]
