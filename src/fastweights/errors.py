"""The two ways in which a command fails. Each message names the argument, its value and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral


class UsageError(ValueError):
    """What was asked for is impossible: exit code 2."""


class RunError(RuntimeError):
    """What was asked for is possible but failed (a damaged run directory, a full disk): exit code 1."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not among `known`, with the nearest one suggested."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {what} {name!r}: {hint}choose from {', '.join(names)}")


def check_count(name: str, value: object, least: int = 1) -> None:
    """Raise UsageError unless `value` is a whole number of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise UsageError(f"{name} must be a whole number, got {value!r}")
    if int(value) < least:
        raise UsageError(f"{name} must be at least {least}, got {value!r}")
