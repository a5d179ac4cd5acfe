"""Before anything is timed: every backend's outputs and gradients against the float64 reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastweights import cells, kernels

TOLERANCE = 2e-5
"""Largest difference, relative to the largest entry, that float32 rounding explains at the gate's sizes."""

_SIZES = ((7, 3, 1), (50, 11, 5), (33, 40, 17))  # R, T, B: odd sizes, and Table 1's R and T
_OTHER_CELLS = ("irnn", "lstm", "associative_lstm")
_LAYER_SIZES = ((7, 3, 1), (50, 11, 5), (33, 11, 17))  # over longer times an untrained associative LSTM is chaotic


@dataclass(frozen=True)
class Check:
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
    checks = [_check(name, *sizes) for name in present for sizes in _SIZES]
    if "cpu" in present:
        checks += [_check_layer(name, *sizes) for name in _OTHER_CELLS for sizes in _LAYER_SIZES]
    return checks


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


def _check_layer(cell: str, size: int, steps: int, batch: int) -> Check:
    """The compiled layer in float32 against the eager one in float64, on the same weights."""
    size += size % 2  # the associative LSTM's real and imaginary parts
    generator = torch.Generator().manual_seed(size)
    build: Any = cells.load(cell)
    exact = build(size, size, batch_first=True, backend="reference", dtype=torch.float64)
    fast = build(size, size, batch_first=True, backend="cpu")
    fast.load_state_dict(exact.state_dict())
    exact.load_state_dict(fast.state_dict())  # rounded, so that both start from the same numbers
    x = torch.randn(batch, steps, size, generator=generator)
    results = []
    for layer, dtype in ((exact, torch.float64), (fast, torch.float32)):
        out, state = layer(x.to(dtype))
        gradients = torch.autograd.grad([value.sum() for value in (out, *state)], list(layer.parameters()))
        results.append([*(value.detach() for value in (out, *state)), *gradients])
    error = max(_relative(value, want) for want, value in zip(*results, strict=True))
    return Check(f"{cell}, cpu", f"R={size} T={steps} B={batch}", error)


def _outputs_and_gradients(backend: kernels.Backend, inputs: list[Tensor], upstream: list[Tensor]) -> list[Tensor]:
    leaves = [value.clone().requires_grad_() for value in inputs]
    out, state = kernels.fast_weights(*leaves, decay=0.95, fast_learning_rate=0.5, backend=backend)
    outputs = [out, *state]
    return [*(value.detach() for value in outputs), *torch.autograd.grad(outputs, leaves, upstream)]


def _relative(value: Tensor, wanted: Tensor) -> float:
    return float((value.double() - wanted).abs().max() / wanted.abs().max())
