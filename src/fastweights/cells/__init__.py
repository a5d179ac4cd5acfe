"""How one layer works: one file a cell, found by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastweights import discovery

if TYPE_CHECKING:
    from fastweights.cells.base import RecurrentLayer


def names() -> tuple[str, ...]:
    """The cells there are, without importing them."""
    return discovery.names(__name__)


def load(name: str) -> type[RecurrentLayer]:
    """The layer class called `name`; UsageError with the nearest name if there is none."""
    from fastweights.cells.base import RecurrentLayer

    return discovery.load(__name__, name, RecurrentLayer)
