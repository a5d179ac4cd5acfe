"""The settings of a cell or task, taken from its constructor: named, typed and with defaults, in one place."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fastweights.errors import UsageError, unknown_name

Option = bool | int | float | str


_SET_ELSEWHERE = frozenset({"batch_first", "device", "dtype"})


def names(owner: type) -> tuple[str, ...]:
    """Names of the settings of `owner`: its constructor's arguments with defaults, but for those that the run sets."""
    return tuple(
        name
        for name, parameter in inspect.signature(owner).parameters.items()
        if name not in _SET_ELSEWHERE and parameter.default is not inspect.Parameter.empty
    )


def complete(owner: type, given: Mapping[str, Option]) -> dict[str, Option]:
    """The settings of `owner`, `given` ones checked and all others at their defaults.

    Raises UsageError for an unknown name or a value of the wrong type.
    """
    hints = get_type_hints(owner.__init__)  # type: ignore[misc]  # annotations of a class in hand, not of an instance
    known = names(owner)
    for name in given:
        if name not in known:
            raise (
                unknown_name(f"{owner.__name__} option", name, known)
                if known
                else UsageError(f"{owner.__name__} has no options, got {name!r}")
            )
    defaults = {name: inspect.signature(owner).parameters[name].default for name in known}
    return {
        name: checked(f"{owner.__name__} option {name}", given.get(name, defaults[name]), hints[name]) for name in known
    }


def checked(what: str, value: Any, hint: Any) -> Option:
    """`value`, if the annotation `hint` admits it; a float setting admits an integer.

    Raises UsageError, naming `what`, otherwise.
    """
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise unknown_name(what, str(value), map(str, get_args(hint)))
        return value  # type: ignore[no-any-return]
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if type(value) in kinds:
        return value  # type: ignore[no-any-return]
    if type(value) is int and float in kinds:
        return float(value)
    raise UsageError(f"{what} must be {getattr(hint, '__name__', hint)}, got {value!r}")
