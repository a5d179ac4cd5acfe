"""Imports run one way, names are listed once, and every public name imports."""

import ast
from pathlib import Path

import pytest

import fastweights
from fastweights import cells, discovery, experiments, tasks
from fastweights.cells.base import RecurrentLayer
from fastweights.errors import UsageError

SOURCE = Path(fastweights.__file__).parent
FOUNDATION = {"types", "errors", "discovery"}
# What each part of the package may import, besides itself.
ALLOWED = {
    "types": set(),
    "errors": set(),
    "discovery": {"errors"},
    "tasks": FOUNDATION,
    "kernels": FOUNDATION,
    "cells": FOUNDATION | {"kernels"},
    "dynamics": FOUNDATION,
    "model": FOUNDATION | {"kernels", "cells"},
    "training": FOUNDATION | {"kernels", "cells", "model", "tasks"},
    "experiments": FOUNDATION | {"tasks", "training"},
    "memories": FOUNDATION,
    "claims": FOUNDATION | {"kernels", "cells", "tasks", "model", "training", "memories", "dynamics"},
    "bench": FOUNDATION | {"kernels", "cells", "model", "training"},
    "report": FOUNDATION | {"kernels", "cells", "tasks", "training", "experiments", "claims", "bench"},
    "cli": FOUNDATION | {"kernels", "cells", "model", "tasks", "training", "experiments", "claims", "report", "bench"},
    "__main__": {"cli"},
    "__init__": FOUNDATION | {"kernels", "cells", "tasks", "memories", "dynamics"},
}


def part_of(path):
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_parts(path):
    """The parts of the package that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "fastweights":
            names = [f"fastweights.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("fastweights."))


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path):
    part = part_of(path)
    assert set(imported_parts(path)) - {part} <= ALLOWED[part]


def test_every_public_name_imports():
    for name in fastweights.__all__:
        assert getattr(fastweights, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'FastWeightsRNN'"):
        _ = fastweights.FastWeightsRNN


def test_cells_tasks_and_experiments_are_the_files_of_their_folders():
    for package in (cells, tasks, experiments):
        files = {path.stem.replace("_", "-") for path in (SOURCE / package.__name__.split(".")[1]).glob("[a-z]*.py")}
        assert {name.replace("_", "-") for name in package.names()} == files - {"base"}
        for name in package.names():
            assert package.load(name) is not None


def test_every_cell_is_final():
    for name in cells.names():
        assert cells.load(name).__bases__ == (RecurrentLayer,)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="unknown cell 'fast_weight': did you mean 'fast_weights'"):
        discovery.load("fastweights.cells", "fast_weight", RecurrentLayer)


def test_the_version_is_the_installed_one():
    assert fastweights.__version__.count(".") == 2
