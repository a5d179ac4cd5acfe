"""Before anything is timed: every backend's outputs and gradients against the float64 reference."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastweights import kernels

TOLERANCE = 2e-5
"""Largest difference, relative to the largest entry, that float32 rounding explains at the gate's sizes."""

_SIZES = ((7, 3, 1), (50, 11, 5), (33, 40, 17))  # R, T, B: odd sizes, and Table 1's R and T


class Check(NamedTuple):
    """How far a backend is from the reference at one size; `error` is relative to the largest entry."""

    backend: str
    sizes: str
    error: float

    @property
    def passed(self) -> bool:
        """Whether rounding explains the difference. A NaN does not pass."""
        return self.error <= TOLERANCE


def check_backends() -> list[Check]:
    """Outputs, final state and every gradient of each backend that is there, in float32, against float64."""
    candidates: tuple[kernels.Backend, ...] = ("attention", "cpu")
    present = [name for name in candidates if name not in kernels.missing_backends()]
    return [_check(name, *sizes) for name in present for sizes in _SIZES]


def _check(backend: kernels.Backend, size: int, steps: int, batch: int) -> Check:
    generator = torch.Generator().manual_seed(size)
    inputs = [
        torch.randn(batch, steps, size, generator=generator, dtype=torch.float64),
        torch.randn(size, size, generator=generator, dtype=torch.float64) / size**0.5,
        torch.rand(size, generator=generator, dtype=torch.float64) + 0.5,
        torch.randn(size, generator=generator, dtype=torch.float64),
    ]
    upstream = [
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((batch, steps, size), (batch, size), (batch, size, size))
    ]
    wanted = _outputs_and_gradients("reference", inputs, upstream)
    got = _outputs_and_gradients(backend, [i.float() for i in inputs], [u.float() for u in upstream])
    error = max(_relative(value, want) for value, want in zip(got, wanted, strict=True))
    return Check(backend, f"R={size} T={steps} B={batch}", error)


def _outputs_and_gradients(backend: kernels.Backend, inputs: list[Tensor], upstream: list[Tensor]) -> list[Tensor]:
    leaves = [value.clone().requires_grad_() for value in inputs]
    out, state = kernels.fast_weights(*leaves, decay=0.95, fast_learning_rate=0.5, backend=backend)
    outputs = [out, *state]
    return [*(value.detach() for value in outputs), *torch.autograd.grad(outputs, leaves, upstream)]


def _relative(value: Tensor, wanted: Tensor) -> float:
    return float((value.double() - wanted).abs().max() / wanted.abs().max())
