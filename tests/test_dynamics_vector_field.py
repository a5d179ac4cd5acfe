"""The grid of a planar field: each vector stands where the plot will draw it."""

import pytest
import torch

from fastweights.dynamics import systems, vector_field
from fastweights.errors import UsageError


def test_row_is_y_and_column_is_x():
    A = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=torch.float64)
    x, y, u, v = vector_field(lambda state: A @ state, (-1, 10), (1, 14), 5)
    assert x.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert y.tolist() == [10.0, 11.0, 12.0, 13.0, 14.0]
    # Small whole and half numbers: exact.
    assert torch.equal(u, x + 2 * y[:, None])
    assert torch.equal(v, 3 * x + 5 * y[:, None])


def test_what_is_no_finite_plane_is_refused():
    with pytest.raises(UsageError, match="two coordinates each"):
        vector_field(systems.lorenz(), (0, 0, 0), (1, 1, 1), 3)
    with pytest.raises(UsageError, match="field is not finite at the state"):
        vector_field(lambda state: 1 / state, (0, 0), (1, 1), 3)
    with pytest.raises(UsageError, match="lower must be below upper"):
        vector_field(lambda state: state, (1, 1), (0, 0), 3)
