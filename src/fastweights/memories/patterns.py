"""Random patterns, and the damage that recall must undo: flipped entries (distorted keys) or erased (partial keys)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.memories._inputs import ArrayLike, at_least, rows, vectors


def random_signs(
    count: int,
    units: int,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, "P N"]:
    """`count` patterns of `units` independent fair ±1, (P, N)."""
    shape = (at_least("count", count, 1), at_least("units", units, 1))
    bits = torch.randint(2, shape, generator=generator, device=None if generator is None else generator.device)
    return (2 * bits - 1).to(device=device, dtype=dtype or torch.get_default_dtype())


def random_unit_vectors(
    count: int,
    units: int,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, "P N"]:
    """`count` independent vectors, uniform on the unit sphere of R^N, (P, N)."""
    shape = (at_least("count", count, 1), at_least("units", units, 1))
    place = None if generator is None else generator.device
    normal = torch.randn(shape, generator=generator, dtype=dtype, device=place)
    return torch.nn.functional.normalize(normal).to(device=device)


def flip(patterns: ArrayLike, fraction: float, *, generator: torch.Generator | None = None) -> Float[Tensor, "P N"]:
    """Patterns (P, N) in each of which `fraction` of the entries, rounded to whole ones, changed sign."""
    x = rows("patterns", patterns)
    return torch.where(_chosen(x, fraction, generator), -x, x)


def erase(patterns: ArrayLike, fraction: float, *, generator: torch.Generator | None = None) -> Float[Tensor, "P N"]:
    """Patterns (P, N) in each of which `fraction` of the entries, rounded to whole ones, became zero."""
    x = rows("patterns", patterns)
    return torch.where(_chosen(x, fraction, generator), 0.0, x)


def overlap(states: ArrayLike, patterns: ArrayLike) -> Float[Tensor, "*batch"]:
    """m = ξᵀx / N of every state with the pattern in the same place, (..., N) → (...)."""
    x = vectors("states", states)
    ξ = vectors("patterns", patterns, size=x.shape[-1], like=x)
    if ξ.dim() > 1 and ξ.shape != x.shape:
        raise UsageError(f"patterns must be one, or one for each state of shape {tuple(x.shape)}, got {tuple(ξ.shape)}")
    return (x * ξ).mean(dim=-1)


def _chosen(x: Tensor, fraction: float, generator: torch.Generator | None) -> Tensor:
    if not 0 <= fraction <= 1:
        raise UsageError(f"fraction must be in [0, 1], got {fraction!r}")
    place = x.device if generator is None else generator.device
    rank = torch.rand(x.shape, generator=generator, device=place).argsort(dim=1).argsort(dim=1).to(x.device)
    return rank < round(fraction * x.shape[1])
