"""A planar field on a grid, laid out as matplotlib's `streamplot`, `quiver` and `contour` take it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.basins import grid
from fastweights.dynamics.maps import Field, evaluate
from fastweights.errors import UsageError


class VectorField(NamedTuple):
    """dx/dt = u and dy/dt = v at the points (x_i, y_j), in row j and column i."""

    x: Float[Tensor, " R"]
    y: Float[Tensor, " R"]
    u: Float[Tensor, "R R"]
    v: Float[Tensor, "R R"]


def vector_field(
    field: Field, lower: Sequence[int | float], upper: Sequence[int | float], resolution: int = 40
) -> VectorField:
    """A field of two state variables on resolution² points of the box from `lower` to `upper`; float64.

    Raises UsageError for a box that `grid` refuses or that is not a plane, and if the field is not finite at a point.
    """
    points = grid(lower, upper, resolution)
    if points.shape[1] != 2:
        raise UsageError(f"lower and upper must have two coordinates each, got {list(lower)} and {list(upper)}")
    by_row = evaluate("field", field, points).reshape(resolution, resolution, 2).transpose(0, 1)
    return VectorField(points[::resolution, 0], points[:resolution, 1], by_row[..., 0], by_row[..., 1])
