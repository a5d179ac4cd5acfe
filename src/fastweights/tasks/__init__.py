"""What must be remembered: one file a task, found by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastweights import discovery

if TYPE_CHECKING:
    from fastweights.tasks.base import Task


def names() -> tuple[str, ...]:
    """The tasks there are, without importing them."""
    return discovery.names(__name__)


def load(name: str) -> type[Task]:
    """The task class called `name`; UsageError with the nearest name if there is none."""
    from fastweights.tasks.base import Task

    return discovery.load(__name__, name, Task)
