"""Running a learning rule: step by step, on single samples or averages, or as the flow that small steps tend to.

A rule is any function (W, X) → ΔW of weights W (m, n) and inputs X (B, n), averaged over the rows of X, for the linear
layer y = W x. As the learning rate α → 0 with time t = α · steps fixed, the averaged steps tend to dW/dt = rule(W, X),
and so does learning from single samples drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.memories import _runge_kutta
from fastweights.memories._inputs import ArrayLike, at_least, positive, rows

Rule = Callable[[Tensor, Tensor], Tensor]


def correlation(inputs: ArrayLike) -> Float[Tensor, "n n"]:
    """C = E[x xᵀ] over the rows of `inputs`, (B, n)."""
    x = rows("inputs", inputs)
    return x.T @ x / len(x)


def learn(
    rule: Rule,
    weights: ArrayLike,
    inputs: ArrayLike,
    *,
    learning_rate: float,
    epochs: int = 1,
    batch_size: int | None = 1,
) -> Float[Tensor, "steps m n"]:
    """W ← W + α rule(W, X) for X running through the rows of `inputs`.

    Args:
        weights: W at the start, (m, n).
        inputs: (P, n).
        learning_rate: α > 0.
        epochs: passes over the inputs, ≥ 1.
        batch_size: rows averaged in one step; None is all of them.

    Returns:
        W before the first step and after each, (steps + 1, m, n). Weights that grow beyond bounds are returned as they
        are: plain Hebbian learning does.
    """
    W = rows("weights", weights)
    X = rows("inputs", inputs, size=W.shape[1], like=W)
    at_least("epochs", epochs, 1)
    positive("learning_rate", learning_rate)
    size = len(X) if batch_size is None else at_least("batch_size", batch_size, 1)
    path = [W]
    for _ in range(epochs):
        for batch in torch.split(X, size):
            path.append(path[-1] + learning_rate * rule(path[-1], batch))
    return torch.stack(path)


def integrate(
    rule: Rule, weights: ArrayLike, inputs: ArrayLike, *, duration: float, steps: int
) -> Float[Tensor, "steps m n"]:
    """The flow dW/dt = rule(W, X) with X all of `inputs`, by the Runge–Kutta method of order four.

    Args:
        weights: W(0), (m, n).
        inputs: (P, n).
        duration: time t > 0 to integrate over; α·k for comparison with k steps of learning rate α.
        steps: of equal length, ≥ 1.

    Returns:
        W at the times 0, t/steps, …, t, (steps + 1, m, n).
    """
    W = rows("weights", weights)
    X = rows("inputs", inputs, size=W.shape[1], like=W)
    positive("duration", duration)
    at_least("steps", steps, 1)
    return _runge_kutta.trajectory(lambda state: rule(state, X), W, duration=duration, steps=steps)
