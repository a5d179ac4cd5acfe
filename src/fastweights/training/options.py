"""The settings of a cell or task, taken from its constructor: named, typed and with defaults, in one place."""

from __future__ import annotations

import contextlib
import inspect
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fastweights.errors import UsageError, unknown_name

Option = bool | int | float | str
T = TypeVar("T")

_SET_ELSEWHERE = frozenset({"batch_first", "device", "dtype"})


def names(owner: type) -> tuple[str, ...]:
    """Names of the settings of `owner`: its constructor's arguments with defaults, but for those that the run sets."""
    return tuple(
        name
        for name, parameter in inspect.signature(owner).parameters.items()
        if name not in _SET_ELSEWHERE and parameter.default is not inspect.Parameter.empty
    )


def hints(owner: type) -> dict[str, Any]:
    """The annotation of every setting of `owner`."""
    found = get_type_hints(owner.__init__)  # type: ignore[misc]  # annotations of a class in hand, not of an instance
    return {name: found[name] for name in names(owner)}


def complete(owner: type, given: Mapping[str, Option]) -> dict[str, Option]:
    """The settings of `owner`, `given` ones checked and all others at their defaults.

    Raises UsageError for an unknown name or a value of the wrong type.
    """
    known = hints(owner)
    for name in given:
        if name not in known:
            raise (
                unknown_name(f"{owner.__name__} option", name, known)
                if known
                else UsageError(f"{owner.__name__} has no options, got {name!r}")
            )
    defaults = {name: inspect.signature(owner).parameters[name].default for name in known}
    return {
        name: checked(f"{owner.__name__} option {name}", given.get(name, defaults[name]), hint)
        for name, hint in known.items()
    }


def checked(what: str, value: Any, hint: Any) -> Any:
    """`value`, if the annotation `hint` admits it, as Python's own type; it may be a scalar of NumPy's or torch's.

    A float setting admits an integer. No integer is admitted that would not fit into 64 bits.

    Raises UsageError, naming `what`, otherwise.
    """
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if get_origin(hint) is Literal:
        if not isinstance(value, str) or value not in get_args(hint):
            raise unknown_name(what, str(value), get_args(hint))
        return value
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if type(value) is int and (int in kinds or float in kinds):
        if not -(2**63) <= value < 2**63:
            raise UsageError(f"{what} must be below 2**63, and not below its negative, got {value!r}")
        return value if int in kinds else float(value)
    if type(value) in kinds:
        return value
    raise UsageError(f"{what} must be {hint.__name__ if isinstance(hint, type) else hint}, got {value!r}")


def parse(words: Sequence[str]) -> dict[str, Option]:
    """Settings as the command line gives them, a name and a value in turn; names may be spelt with hyphens.

    Raises UsageError for a name without a value, or given twice.
    """
    if len(words) % 2:
        raise UsageError(f"{words[-1]} needs a value")
    found: dict[str, Option] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        add_once(found, name, parse_value(value))
    return found


def parse_value(text: str) -> Any:
    """A number, true or false, or nothing, where the text is the word for it; itself otherwise."""
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def add_once(known: dict[str, T], name: str, value: T) -> None:
    """Names may be spelt with hyphens, as the command line's own are. Raises UsageError for one that is known."""
    name = name.replace("-", "_")
    if name in known:
        raise UsageError(f"{name} is given twice; give it once")
    known[name] = value
