"""Finding the tasks, cells, experiments and claims: each is one file of its package, named after it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TypeVar

from fastweights.errors import unknown_name

T = TypeVar("T")


def names(package: str) -> tuple[str, ...]:
    """Names of the public modules of `package`, read from its folder without importing them.

    A module called `base` or one whose name begins with an underscore holds what the others share.
    """
    path = importlib.import_module(package).__path__
    return tuple(sorted(m.name for m in pkgutil.iter_modules(path) if m.name != "base" and not m.name.startswith("_")))


def load(package: str, name: str, base: type[T]) -> type[T]:
    """The one concrete subclass of `base` that module `name` of `package` defines.

    Raises UsageError for an unknown name, with the nearest one suggested.
    """
    known = names(package)
    if name not in known:
        raise unknown_name(package.rsplit(".", 1)[-1].removesuffix("s"), name, known)
    module = importlib.import_module(f"{package}.{name}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define exactly one {base.__name__}; it defines {len(found)}")
    return found[0]
