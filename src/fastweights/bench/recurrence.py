"""The fast-weight recurrence as it is checked and timed: of one model, or of a population's members in one call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fastweights import kernels

DECAY, FAST_LEARNING_RATE = 0.95, 0.5

Run = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def recurrence(
    backend: kernels.Backend,
    *,
    members: int = 1,
    device: torch.device | str = "cpu",
    final_fast_weights: bool = False,
) -> Run:
    """The function from z, W, gain and bias to h(1) … h(T), the last h and the last A.

    With more than one member every tensor has a leading dimension of members, each with λ and η of its own.
    """

    def alone(
        z: Tensor,
        weight: Tensor,
        gain: Tensor,
        bias: Tensor,
        decay: float | Tensor = DECAY,
        fast_learning_rate: float | Tensor = FAST_LEARNING_RATE,
    ) -> tuple[Tensor, Tensor, Tensor]:
        out, state = kernels.fast_weights(
            z,
            weight,
            gain,
            bias,
            decay=decay,
            fast_learning_rate=fast_learning_rate,
            final_fast_weights=final_fast_weights,
            backend=backend,
        )
        return out, state.h, state.fast_weights

    if members == 1:
        return alone
    settings = torch.linspace(0.9, 0.99, members, device=device), torch.linspace(0.25, 0.75, members, device=device)

    def together(z: Tensor, weight: Tensor, gain: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        results: tuple[Tensor, Tensor, Tensor] = torch.func.vmap(alone)(z, weight, gain, bias, *settings)
        return results

    return together


def starting_inputs(
    shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """z of this shape, (B, T, H) or (P, B, T, H), with W, gain and bias as training starts; and a gradient of out."""
    generator = torch.Generator(device).manual_seed(0)
    lead, size = shape[:-3], shape[-1]
    z = torch.randn(shape, generator=generator, device=device, requires_grad=True)
    weight = (0.05 * torch.eye(size, device=device)).repeat(*lead, 1, 1).requires_grad_()
    gain = torch.ones(*lead, size, device=device, requires_grad=True)
    bias = torch.zeros(*lead, size, device=device, requires_grad=True)
    return (z, weight, gain, bias), torch.randn(shape, generator=generator, device=device)
