"""The settings of a cell or task, taken from its constructor: named, typed and with defaults, in one place."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fastweights.errors import UsageError, unknown_name

Option = bool | int | float | str


def complete(owner: type, given: Mapping[str, Option], *, reserved: frozenset[str] = frozenset()) -> dict[str, Option]:
    """The keyword arguments of `owner`, `given` ones checked and all others at their defaults.

    `reserved` names arguments that are set elsewhere and are no options. Raises UsageError for an unknown name or a
    value of the wrong type.
    """
    hints = get_type_hints(owner.__init__)  # type: ignore[misc]  # annotations of a class in hand, not of an instance
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(owner).parameters.items()
        if name not in reserved and parameter.default is not inspect.Parameter.empty
    }
    for name in given:
        if name not in parameters:
            raise (
                unknown_name(f"{owner.__name__} option", name, parameters)
                if parameters
                else UsageError(f"{owner.__name__} has no options, got {name!r}")
            )
    return {
        name: _checked(f"{owner.__name__} option {name}", given.get(name, parameter.default), hints[name])
        for name, parameter in parameters.items()
    }


def _checked(what: str, value: Any, hint: Any) -> Option:
    """`value`, if `hint` admits it; a float setting admits an integer."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise unknown_name(what, str(value), map(str, get_args(hint)))
        return value  # type: ignore[no-any-return]
    if get_origin(hint) in (Union, types.UnionType):
        if value is None or type(value) in get_args(hint):
            return value  # type: ignore[no-any-return]
    elif hint is float and type(value) is int:
        return float(value)
    elif type(value) is hint:
        return value  # type: ignore[no-any-return]
    raise UsageError(f"{what} must be {getattr(hint, '__name__', hint)}, got {value!r}")
