"""The one door to the optional solver of semidefinite programs."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from fastweights.errors import UsageError


def load_solver() -> Any:
    """The module cvxpy, with Clarabel at hand; UsageError that says what to install if either is missing."""
    try:
        importlib.import_module("clarabel")
        return importlib.import_module("cvxpy")
    except ImportError as error:
        raise UsageError(
            f"this certificate needs a semidefinite solver, and {error.name} is not installed: "
            "pip install 'fastweights[certify]'"
        ) from error


def solve(problem: Any) -> bool:
    """Solve in place; whether there is a solution to round (its accuracy does not matter: exact rechecks follow)."""
    cvxpy = load_solver()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            problem.solve(solver="CLARABEL")
        except cvxpy.SolverError:
            return False
    return problem.status in ("optimal", "optimal_inaccurate")
