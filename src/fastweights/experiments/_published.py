"""The numbers of the paper, read from its data file: the only place where they stand."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any


def table(name: str) -> dict[str, Any]:
    """One table of `paper/ba2016.toml`, as it stands there."""
    text = files("fastweights.experiments").joinpath("paper/ba2016.toml").read_text(encoding="utf-8")
    entry: dict[str, Any] = tomllib.loads(text)[name]
    return entry


def value(name: str, row: str, column: int | str) -> float | None:
    """The published value in `row` and `column` of a table, or None if the paper has none there."""
    entry = table(name)
    if row not in entry["rows"] or column not in entry["columns"]:
        return None
    return float(entry["values"][entry["rows"].index(row)][entry["columns"].index(column)])
