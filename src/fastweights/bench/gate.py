"""Before anything is timed: every backend's outputs and gradients against the float64 reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastweights import cells, kernels
from fastweights.bench.recurrence import recurrence
from fastweights.errors import RunError
from fastweights.training.config import Device

TOLERANCE = 2e-5
"""Largest difference, relative to the largest entry, that float32 rounding explains at the gate's sizes."""

_CANDIDATES: dict[Device, tuple[kernels.Backend, ...]] = {
    "cpu": ("attention", "cpu"),
    "cuda": ("attention", "triton"),
}
_SIZES = ((7, 3, 1), (50, 11, 5), (33, 40, 17))  # R, T, B: odd sizes, and Table 1's R and T
# Every way in which the GPU's kernels hold A, over several chunks, and as many sequences as are timed.
_MORE_SIZES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "triton": (
        (7, 3, 1),
        (20, 150, 3),
        (50, 11, 5),
        (100, 40, 3),
        (128, 150, 2),
        (200, 40, 2),
        (512, 20, 2),
        (64, 40, 128),
    )
}
_POPULATION = (50, 11, 5, 3)  # R, T, B, P
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


def passed_checks(device: Device = "cpu") -> list[Check]:
    """The checks of the backends that run on this kind of device.

    Raises:
        RunError: one of them differs from the reference, so that its times would mean nothing.
    """
    checks = check_backends(device)
    wrong = [check for check in checks if not check.passed]
    if wrong:
        found = "; ".join(f"{check.backend} at {check.sizes}: {check.error:.1e}" for check in wrong)
        raise RunError(f"not timing anything: these differ from the float64 reference by more than rounding: {found}")
    return checks


def check_backends(device: Device = "cpu") -> list[Check]:
    """Outputs, final state and every gradient of each backend that is there, in float32, against float64."""
    present = [name for name in _CANDIDATES[device] if name not in kernels.missing_backends()]
    checks = []
    for name in present:
        checks += [_check(name, *sizes, device=device) for sizes in _MORE_SIZES.get(name, _SIZES)]
        if device == "cuda":
            checks.append(_check(name, *_POPULATION, device=device))
    if "cpu" in present:
        checks += [_check_layer(name, *sizes) for name in _OTHER_CELLS for sizes in _LAYER_SIZES]
    return checks


def _check(
    backend: kernels.Backend, size: int, steps: int, batch: int, members: int = 1, *, device: Device = "cpu"
) -> Check:
    generator = torch.Generator().manual_seed(size)
    lead = (members,) if members > 1 else ()

    def draw(*shape: int) -> Tensor:
        return torch.randn(*lead, *shape, generator=generator, dtype=torch.float64)

    inputs = [
        draw(batch, steps, size),
        draw(size, size) / size**0.5,
        torch.rand(*lead, size, generator=generator, dtype=torch.float64) + 0.5,
        draw(size),
    ]
    upstream = [draw(batch, steps, size), draw(batch, size), draw(batch, size, size)]
    inputs, upstream = [value.to(device) for value in inputs], [value.to(device) for value in upstream]
    wanted = _outputs_and_gradients("reference", inputs, upstream)
    got = _outputs_and_gradients(backend, [i.float() for i in inputs], [u.float() for u in upstream])
    error = _largest(got, wanted)
    return Check(backend, f"R={size} T={steps} B={batch}{f' P={members}' if lead else ''}", error)


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
    error = _largest(results[1], results[0])
    return Check(f"{cell}, cpu", f"R={size} T={steps} B={batch}", error)


def _largest(got: list[Tensor], wanted: list[Tensor]) -> float:
    """NaN if any is; Python's `max` would drop it."""
    return float(torch.tensor([_relative(value, want) for value, want in zip(got, wanted, strict=True)]).max())


def _outputs_and_gradients(backend: kernels.Backend, inputs: list[Tensor], upstream: list[Tensor]) -> list[Tensor]:
    """Inputs with a leading dimension of members are a population."""
    leaves = [value.clone().requires_grad_() for value in inputs]
    z = leaves[0]
    members = len(z) if z.dim() == 4 else 1
    outputs = recurrence(backend, members=members, device=z.device, final_fast_weights=True)(*leaves)
    return [*(value.detach() for value in outputs), *torch.autograd.grad(outputs, leaves, upstream)]


def _relative(value: Tensor, wanted: Tensor) -> float:
    return float((value.double() - wanted).abs().max() / wanted.abs().max())
