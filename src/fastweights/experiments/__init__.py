"""The published results, and comparisons beyond them: one file each, with its runs and their reduction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastweights import discovery
from fastweights.errors import unknown_name

if TYPE_CHECKING:
    from fastweights.experiments.base import Experiment


def names() -> tuple[str, ...]:
    """The experiments there are, as the command line spells them."""
    return tuple(name.replace("_", "-") for name in discovery.names(__name__))


def load(name: str) -> Experiment:
    """The experiment called `name`; UsageError with the nearest name if there is none."""
    from fastweights.experiments.base import Experiment

    if name not in names():
        raise unknown_name("experiment", name, names())
    return discovery.load(__name__, name.replace("-", "_"), Experiment)()
