"""A sweep as a list of complete configurations: every combination of some values of some fields, times the seeds."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from fastweights import cells, tasks
from fastweights.errors import UsageError, unknown_name
from fastweights.training import options
from fastweights.training.config import RunConfig, field_types
from fastweights.training.loop import complete
from fastweights.training.options import Option


def grid(base: RunConfig, fields: Mapping[str, Sequence[Option]], seeds: Sequence[int]) -> list[RunConfig]:
    """All combinations, the last field varying fastest but for the seeds, in an order that only the arguments decide.

    Args:
        base: what all runs share.
        fields: values for each name. A name is a field of RunConfig, or else an option of the cell or of the task, as
            their constructors name them.
        seeds: of every combination.

    Raises:
        UsageError: an unknown name, a field without values or with one twice, or a value that its field does not take.
    """
    for name, values in {**fields, "seed": seeds}.items():
        if not values:
            raise UsageError(f"{name} needs at least one value")
        if len(set(values)) < len(values):
            raise UsageError(f"{name} has a value twice: {' '.join(map(str, values))}")
    if "seed" in fields:
        raise UsageError("seed is not a field of the grid; give the seeds as seeds")
    return [
        complete(_varied(base, {**dict(zip(fields, values, strict=True)), "seed": seed}))
        for values in itertools.product(*fields.values())
        for seed in seeds
    ]


def settings(config: RunConfig) -> dict[str, Option | None]:
    """All settings of a run by the names that a grid gives them, options of the cell and the task among the fields."""
    fields = config.to_dict()
    return {**fields.pop("cell_options"), **fields.pop("task_options"), **fields}


def varied(configs: Sequence[RunConfig]) -> tuple[str, ...]:
    """Names of the settings in which some of the configurations differ, but for the seed; fields first.

    A setting that only some of them have, as an option of one cell, counts if those differ in it.
    """
    each = [settings(config) for config in configs]
    fields = [field.name for field in dataclasses.fields(RunConfig)]
    names = dict.fromkeys([*fields, *(name for one in each for name in one)])
    return tuple(name for name in names if name != "seed" and len({one[name] for one in each if name in one}) > 1)


def parse_fields(given: Sequence[Sequence[str]]) -> dict[str, list[Option]]:
    """Fields of a grid as the command line gives them: each a name and its values, as text.

    Raises UsageError where there is no name, or for one given twice.
    """
    if not all(given):
        raise UsageError("grid needs a name and its values, as in --grid decay 0.9 0.95")
    fields: dict[str, list[Option]] = {}
    for name, *values in given:
        options.add_once(fields, name, [options.parse_value(value) for value in values])
    return fields


def parse_ranges(given: Sequence[tuple[str, float, float]]) -> dict[str, tuple[float, float]]:
    """Ranges of a search as the command line gives them. Raises UsageError for a name given twice."""
    ranges: dict[str, tuple[float, float]] = {}
    for name, low, high in given:
        options.add_once(ranges, name, (low, high))
    return ranges


def _varied(base: RunConfig, values: Mapping[str, Option]) -> RunConfig:
    """`base` with other values of some fields, options of its cell or options of its task."""
    fields = field_types().keys() - {"cell_options", "task_options"}
    changes: dict[str, Any] = {name: value for name, value in values.items() if name in fields}
    if changes.get("early_updates") == 0:  # then early_train_size is for the other values of the grid
        changes["early_train_size"] = None
    config = dataclasses.replace(base, **changes).checked()
    cell_options, task_options = dict(config.cell_options), dict(config.task_options)
    of_cell = options.names(cells.load(config.cell))
    of_task = options.names(tasks.load(config.task))
    for name in values.keys() - fields:
        if name in of_cell:
            cell_options[name] = values[name]
        elif name in of_task:
            task_options[name] = values[name]
        else:
            raise unknown_name("field of the grid", name, {*fields, *of_cell, *of_task})
    return dataclasses.replace(config, cell_options=cell_options, task_options=task_options)
