"""Random experiments that the claims about memories and their pictures share; each draws from a seed of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fastweights import memories
from fastweights.claims.base import Measurement, close
from fastweights.memories.base import Kind

STANDARD_ERRORS = 5.0
"""Tolerance of a mean: chance exceeds it about once in 10⁴ for 20 samples, and more rarely for more."""


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own for every trial."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, dtype=torch.float64, generator=seeded(seed))


def signs(count: int, units: int, seed: int = 0) -> Tensor:
    """Random patterns of ±1 in float64, (count, units)."""
    return memories.random_signs(count, units, generator=seeded(seed), dtype=torch.float64)


def orthonormal(count: int, units: int, seed: int = 0) -> Tensor:
    """Orthonormal keys, one a row, (count, units)."""
    columns: Tensor = torch.linalg.qr(normal(units, count, seed=seed)).Q
    return columns.T


def largest(difference: Tensor) -> float:
    """max |entry|."""
    return difference.abs().max().item()


def mean_of_trials(what: str, samples: Tensor, expected: float) -> Measurement:
    """The mean of independent samples (trials,) is `expected`, to 5 standard errors."""
    tolerance = STANDARD_ERRORS * samples.std().item() / math.sqrt(len(samples))
    return close(f"{what}; {len(samples)} trials, ± 5 standard errors", samples.mean().item(), expected, tolerance)


def crosstalk(items: int, units: int, trials: int) -> Tensor:
    """Mean squared error of each trial's recall, for unit random keys and values of ±1, (trials,)."""
    errors = []
    for seed in range(trials):
        g = seeded(seed)
        keys = memories.random_unit_vectors(items, units, generator=g, dtype=torch.float64)
        values = memories.random_signs(items, units, generator=g, dtype=torch.float64)
        recalled = memories.CorrelationMemory().store(keys, values).recall(keys)
        errors.append((recalled - values).square().mean())
    return torch.stack(errors)


def bit_errors(
    items: int, units: int, trials: int, damage: Callable[[Tensor, float], Tensor] | None = None, fraction: float = 0.0
) -> Tensor:
    """Fraction of wrong signs in each trial's heteroassociative recall from keys of ±1, damaged or not, (trials,).

    `items` and the number of intact key entries should be odd: a sum of an odd number of ±1 is never a tie.
    """
    errors = [
        memories.capacity_curve(
            memories.CorrelationMemory,
            units,
            [items],
            kind="heteroassociative",
            distort=lambda keys: keys if damage is None else damage(keys, fraction),
            generator=seeded(seed),
            dtype=torch.float64,
        ).bit_error[0]
        for seed in range(trials)
    ]
    return torch.stack(errors)


def forgetting_noise(decay: float, units: int, items: int, kind: Kind, trials: int) -> Tensor:
    """Mean squared error with which a decaying memory recalls each age's item, (trials, items), newest item first."""
    age = torch.arange(items, dtype=torch.float64)
    errors = []
    for seed in range(trials):
        g = seeded(seed)
        keys = memories.random_signs(items, units, generator=g, dtype=torch.float64)
        values = keys if kind == "autoassociative" else memories.random_signs(items, units, generator=g).to(keys)
        memory = memories.DecayingMemory(decay, 1 / units).store(keys, values)
        error = memory.recall(keys.flip(0)) - (decay**age)[:, None] * values.flip(0)
        errors.append(error.square().mean(dim=1))
    return torch.stack(errors)


def correlated_inputs(samples: int = 400) -> Tensor:
    """Samples x ∈ R³ whose C = E[x xᵀ] has unequal eigenvalues and no zero entry, (samples, 3)."""
    spread = torch.tensor([[1.0, 0.3, 0.0], [0.0, 0.6, 0.2], [0.0, 0.0, 0.4]], dtype=torch.float64)
    return normal(samples, 3, seed=5) @ spread + torch.tensor([0.7, 0.5, -0.4], dtype=torch.float64)


def first_step_errors(items: int, units: int, trials: int) -> Tensor:
    """Fraction of the stored bits that the first synchronous update of a Hopfield network turns, (trials,)."""
    errors = []
    for seed in range(trials):
        patterns = memories.random_signs(items, units, generator=seeded(seed))
        moved = memories.HopfieldNetwork().store(patterns).recall(patterns, update="synchronous", max_sweeps=1)
        errors.append((moved != patterns).double().mean())
    return torch.stack(errors)


def final_overlaps(load: float, units: int, probes: int, seed: int = 0) -> Tensor:
    """Overlap with a stored pattern of the state in which the network comes to rest from it, (probes,)."""
    patterns = memories.random_signs(round(load * units), units, generator=seeded(seed))
    start = patterns[:probes]
    end = memories.HopfieldNetwork().store(patterns).recall(start, max_sweeps=30, generator=seeded(seed + 1))
    return memories.overlap(end, start).double()
