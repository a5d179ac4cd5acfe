"""How a gradient fades or grows on its way back through time.

With one step h_t = F(h_{t−1}, x_t), ∂L/∂h_{T−k} = (J_T J_{T−1} … J_{T−k+1})ᵀ ∂L/∂h_T. Its norm against the lag k
falls or grows as the Jacobian product's does; for a linear or a settled network the slope of its logarithm tends to
ln ρ(W), ρ the spectral radius, whatever ‖W‖₂ is.

A state here is a tuple of tensors, such as the (h,), (h, c) and (h, A) of `fastweights.types`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.checks import check_finite, check_square
from fastweights.dynamics.maps import DrivenStep
from fastweights.errors import UsageError

State = tuple[Tensor, ...]
StateStep = Callable[[State, Tensor], State]


class DecayFit(NamedTuple):
    """Least-squares line through log norms against lag: `slope` per step, and its standard error."""

    slope: float
    standard_error: float


def gradient_norms(
    step: StateStep, state: State, inputs: Float[Tensor, "B T I"], loss: Callable[[State], Tensor]
) -> tuple[Float[Tensor, "K B"], ...]:
    """‖∂L/∂h_{T−k}‖ for the lags k = 0 … T, one (T + 1, B) tensor for each part of the state.

    Args:
        step: one sequence's state and input (I,) to its next state.
        state: h_0, every part with a leading batch dimension.
        inputs: x_1 … x_T, (B, T, I), T ≥ 1.
        loss: one sequence's final state to a scalar. A part that it does not depend on has gradient 0 there.

    Raises:
        UsageError: no step, or a part of the state that is not a floating-point tensor with batch dimension B.
    """
    _check_sequence(state, inputs)
    batched = torch.func.vmap(step)
    states = [tuple(part.detach().requires_grad_() for part in state)]
    for x in inputs.unbind(dim=1):
        states.append(tuple(batched(states[-1], x)))
    total = torch.func.vmap(loss)(states[-1]).sum()
    flat = [part for parts in states for part in parts]
    gradients = torch.autograd.grad(total, flat, allow_unused=True, materialize_grads=True)
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients])
    by_time = norms.reshape(len(states), len(state), -1).flip(0)
    return tuple(by_time.unbind(dim=1))


def log_jacobian_product_norms(
    step: DrivenStep, states: Float[Tensor, "B N"], inputs: Float[Tensor, "B T I"]
) -> Float[Tensor, "T B"]:
    """ln ‖J_T J_{T−1} … J_{T−k+1}‖₂ for the lags k = 1 … T, along the driven trajectories of h ← F(h, x_t).

    Products are rescaled on the way, so that long lags neither overflow nor underflow; −∞ where a product is 0.
    """
    _check_sequence((states,), inputs)
    jacobians = []
    batched = torch.func.vmap(step)
    derivative = torch.func.vmap(torch.func.jacrev(step))
    h = states
    for x in inputs.unbind(dim=1):
        jacobians.append(derivative(h, x))
        h = batched(h, x)
    product = torch.eye(states.shape[1]).to(states).expand(len(states), -1, -1)
    scale, norms = states.new_zeros(len(states)), []
    for J in reversed(jacobians):
        product = product @ J
        size = torch.linalg.matrix_norm(product, 2)
        scale = scale + size.log()
        product = product / torch.where(size > 0, size, 1.0)[:, None, None]
        norms.append(scale)
    return torch.stack(norms)


def decay_exponent(log_norms: Float[Tensor, " K"], first_lag: int = 0) -> DecayFit:
    """The slope of log norms against lag from entry `first_lag` on, to be held beside ln ρ(W).

    Raises UsageError for fewer than three entries, or for entries that are not finite: a gradient that is exactly 0 has
    no exponent.
    """
    values = log_norms[first_lag:]
    if len(values) < 3:
        raise UsageError(f"log_norms must hold at least 3 entries from first_lag = {first_lag} on, got {len(values)}")
    check_finite("log_norms", values)
    lags = torch.arange(len(values)).to(values) - (len(values) - 1) / 2
    spread = lags.square().sum()
    slope = (lags * values).sum() / spread
    residual = values - values.mean() - slope * lags
    error = (residual.square().sum() / (len(values) - 2) / spread).sqrt()
    return DecayFit(float(slope), float(error))


def spectral_radius(matrix: Float[Tensor, "N N"]) -> float:
    """ρ(W), the largest modulus of an eigenvalue; UsageError for a W that is not square or not finite."""
    check_square("matrix", matrix)
    return float(torch.linalg.eigvals(matrix).abs().max())


def _check_sequence(state: State, inputs: Tensor) -> None:
    if inputs.dim() != 3 or inputs.shape[1] == 0:
        raise UsageError(f"inputs must be (B, T, I) with T ≥ 1, got shape {tuple(inputs.shape)}")
    for i, part in enumerate(state):
        if not part.is_floating_point() or part.dim() < 2 or len(part) != len(inputs):
            raise UsageError(
                f"part {i} of the state must be floating point with a leading batch dimension {len(inputs)}, "
                f"got {part.dtype} of shape {tuple(part.shape)}"
            )
