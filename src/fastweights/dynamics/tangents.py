"""Derivatives through a recurrence whose state is several tensors, without ever forming a Jacobian.

A fast-weight network's state is (h, A): with R units its Jacobian has (R + R²)² entries, a hundred million at R = 100.
A tangent (δh, δA) is as small as the state, and one Jacobian-vector product costs about one forward pass:

    δA(t) = λ δA(t−1) + η [δh(t) h(t)ᵀ + h(t) δh(t)ᵀ],

with δh(t) from eq. 5 of Ba et al. (2016). torch.func differentiates any step of that kind.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.gradient_flow import State, StateStep
from fastweights.errors import UsageError


class ProductNorm(NamedTuple):
    """The largest singular value found, and by what fraction the last iteration still changed it."""

    norm: float
    change: float


def run(step: StateStep, state: State, inputs: Float[Tensor, "T I"]) -> State:
    """The state after x_1 … x_T."""
    for x in inputs:
        state = tuple(step(state, x))
    return state


def push_forward(step: StateStep, state: State, inputs: Float[Tensor, "T I"], tangent: State) -> State:
    """J δ, J = ∂state_T/∂state_0 along the inputs: where a small change δ of the first state goes.

    All for one sequence. Raises UsageError if the tangent is not shaped like the state.
    """
    _check_tangent("tangent", tangent, state)
    pushed: State = torch.func.jvp(lambda *parts: run(step, parts, inputs), tuple(state), tuple(tangent))[1]
    return pushed


def pull_back(step: StateStep, state: State, inputs: Float[Tensor, "T I"], cotangent: State) -> State:
    """Jᵀ γ: the gradient by the first state of a loss whose gradient by the last is γ."""
    _check_tangent("cotangent", cotangent, state)
    pull = torch.func.vjp(lambda *parts: run(step, parts, inputs), *state)[1]
    return tuple(pull(tuple(cotangent)))


def product_norm(
    step: StateStep,
    state: State,
    inputs: Float[Tensor, "T I"],
    *,
    source: int | None = None,
    target: int | None = None,
    iterations: int = 30,
    seed: int = 0,
) -> ProductNorm:
    """‖J‖₂ by power iteration on JᵀJ, from below.

    Args:
        source, target: restrict J to the block ∂(part `target` of the last state)/∂(part `source` of the first); None
            is all parts. For a state (h, A), source 1 and target 0 tell what the fast weights carry to the output.
        iterations: at most; it stops when the value changes by less than 1e-9 of itself.

    Raises:
        UsageError: a part that does not exist, or no inputs.
    """
    if len(inputs) == 0:
        raise UsageError("inputs must hold at least one step")
    if iterations < 1:
        raise UsageError(f"iterations must be at least 1, got {iterations!r}")
    for name, part in (("source", source), ("target", target)):
        if part is not None and not 0 <= part < len(state):
            raise UsageError(f"{name} must be in 0..{len(state) - 1} or None, got {part!r}")
    generator = torch.Generator().manual_seed(seed)
    draws = tuple(torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part) for part in state)
    tangent = _only(draws, source)
    norm, change = 0.0, float("inf")
    for _ in range(iterations):
        size = _norm(tangent)
        if size == 0:
            return ProductNorm(0.0, 0.0)
        tangent = tuple(part / size for part in tangent)
        pushed = _only(push_forward(step, state, inputs, tangent), target)
        before, norm = norm, _norm(pushed)
        change = abs(norm - before) / norm if norm else 0.0
        if change < 1e-9:
            break
        tangent = _only(pull_back(step, state, inputs, pushed), source)
    return ProductNorm(norm, change)


def _only(state: State, part: int | None) -> State:
    return tuple(x if part in (None, i) else torch.zeros_like(x) for i, x in enumerate(state))


def _norm(state: State) -> float:
    return float(torch.cat([part.flatten() for part in state]).norm())


def _check_tangent(name: str, tangent: State, state: State) -> None:
    shapes, expected = [tuple(part.shape) for part in tangent], [tuple(part.shape) for part in state]
    if shapes != expected:
        raise UsageError(f"{name} must have the state's shapes {expected}, got {shapes}")
