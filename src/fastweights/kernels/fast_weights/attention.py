"""The fast-weight recurrence as attention over past hidden vectors (eqs. 3 and 4): A(t) is never formed while stepping.

A(t) q = λᵗ A(0) q + η Σ_{τ=1..t} λ^{t−τ} h(τ) [h(τ)ᵀ q]
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import layer_norm

from fastweights.kernels.activations import Activation, activation_function
from fastweights.types import FastWeightState


def _powers_of(decay: float | Tensor, exponents: Tensor, dtype: torch.dtype) -> Tensor:
    """λ to integer exponents, computed in float32 at least (bfloat16 cannot count past 256) and rounded to `dtype`."""
    wide = torch.promote_types(dtype, torch.float32)
    if not isinstance(decay, Tensor):
        decay = torch.full((), decay, device=exponents.device, dtype=wide)
    return torch.pow(decay.to(wide), exponents.to(wide)).to(dtype)


def fast_weights(
    z: Float[Tensor, "B T H"],
    weight_hh: Float[Tensor, "H H"],
    norm_weight: Float[Tensor, " H"] | None,
    norm_bias: Float[Tensor, " H"] | None,
    state: FastWeightState | None,
    lengths: Int[Tensor, " B"] | None,
    *,
    decay: float | Tensor,
    fast_learning_rate: float | Tensor,
    inner_steps: int,
    activation: Activation,
    norm_epsilon: float,
    final_fast_weights: bool,
) -> tuple[Float[Tensor, "B T H"], FastWeightState]:
    """Same arguments and results as the reference; without a state, the A(0) term is left out."""
    f = activation_function(activation)
    batch, steps, hidden = z.shape
    powers = _powers_of(decay, torch.arange(steps, device=z.device), z.dtype)
    newest_last = powers.flip(0)  # newest_last[T−t:] = λ^{t−1} … λ⁰
    h = z.new_zeros(batch, hidden) if state is None else state.h
    stored: list[Tensor] = []
    for t, z_t in enumerate(z.unbind(1)):
        boundary = z_t + h @ weight_hh.T
        h_s = f(boundary)
        past = torch.stack(stored, dim=1) if stored else None
        for _ in range(inner_steps):
            total = boundary
            if past is not None:
                weights = (past @ h_s.unsqueeze(-1)).squeeze(-1) * (fast_learning_rate * newest_last[steps - t :])
                total = total + (weights.unsqueeze(1) @ past).squeeze(1)
            if state is not None:
                total = total + powers[t] * (state.fast_weights @ h_s.unsqueeze(-1)).squeeze(-1)
            h_s = f(
                total if norm_weight is None else layer_norm(total, (hidden,), norm_weight, norm_bias, norm_epsilon)
            )
        if lengths is None:
            h = h_s
            stored.append(h_s)
        else:
            active = (t < lengths).unsqueeze(-1)
            h = torch.where(active, h_s, h)
            stored.append(torch.where(active, h_s, 0.0))
    out = torch.stack(stored, dim=1)
    if not final_fast_weights:
        return out, FastWeightState(h, out.new_empty(batch, 0, 0))
    return out, FastWeightState(h, _final_fast_weights(out, state, lengths, decay, fast_learning_rate))


def _final_fast_weights(
    out: Float[Tensor, "B T H"],
    state: FastWeightState | None,
    lengths: Int[Tensor, " B"] | None,
    decay: float | Tensor,
    fast_learning_rate: float | Tensor,
) -> Float[Tensor, "B H H"]:
    """A at the end of every sequence: η Σ λ^{n−τ} h(τ) h(τ)ᵀ + λⁿ A(0), n the sequence's length."""
    steps = out.shape[1]
    age = torch.arange(steps - 1, -1, -1, device=out.device)
    if lengths is not None:
        # Outputs past the end are zero and store nothing; their age is clamped so that no power of λ overflows.
        age = (age + (lengths - steps).unsqueeze(-1)).clamp(min=0)
    weights = fast_learning_rate * _powers_of(decay, age, out.dtype)
    final = (out * weights.unsqueeze(-1)).mT @ out
    if state is None:
        return final
    count = torch.full((1,), steps, device=out.device) if lengths is None else lengths
    return final + _powers_of(decay, count, out.dtype)[:, None, None] * state.fast_weights


def attention_weights(
    z: Float[Tensor, "B T H"],
    weight_hh: Float[Tensor, "H H"],
    norm_weight: Float[Tensor, " H"] | None,
    norm_bias: Float[Tensor, " H"] | None,
    out: Float[Tensor, "B T H"],
    *,
    decay: float | Tensor,
    fast_learning_rate: float | Tensor,
    inner_steps: int,
    activation: Activation,
    norm_epsilon: float,
    lagged: bool = False,
    boundary_norm: bool = False,
) -> Float[Tensor, "B T T"]:
    """How strongly each step attends to each earlier one, in the last inner iteration (eq. 4), from a zero state.

    Entry [b, t, τ] is η λ^{t−1−τ} h(τ)ᵀ h_{S−1}(t) for τ < t and zero elsewhere: the coefficient with which h(τ) enters
    h(t). If `lagged`, it is η λ^{t−2−τ} h(τ)ᵀ h_{S−1}(t) for τ < t − 1. `out` holds the hidden vectors that any backend
    returned for `z`; given them, all steps are computed at once.
    """
    f = activation_function(activation)
    steps, hidden = z.shape[1:]

    def normed(total: Tensor) -> Tensor:
        return total if norm_weight is None else layer_norm(total, (hidden,), norm_weight, norm_bias, norm_epsilon)

    previous = torch.cat([torch.zeros_like(out[:, :1]), out[:, :-1]], dim=1)
    boundary = z + previous @ weight_hh.T
    lag = torch.arange(steps, device=z.device)[:, None] - torch.arange(steps, device=z.device)[None, :]
    lag = lag - (2 if lagged else 1)
    kernel = torch.where(lag >= 0, fast_learning_rate * _powers_of(decay, lag.clamp(min=0), z.dtype), 0.0)
    query = f(normed(boundary) if boundary_norm else boundary)
    for _ in range(inner_steps - 1):
        query = f(normed(boundary + (kernel * (query @ out.mT)) @ out))
    return kernel * (query @ out.mT)
