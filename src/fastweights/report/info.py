"""What is installed, which backends are there, and why one is missing."""

from __future__ import annotations

from typing import Any, get_args

from fastweights import cells, kernels
from fastweights.kernels.native import library
from fastweights.training import environment


def describe() -> dict[str, Any]:
    """The environment, the cells, and each backend of the fast-weight recurrence with "available" or what is amiss."""
    missing = kernels.missing_backends()
    backends = {name: missing.get(name, "available") for name in get_args(kernels.Backend) if name != "auto"}
    widths = list(library.variants()) if "cpu" not in missing else []
    return {**environment.describe(), "cells": list(cells.names()), "backends": backends, "simd_widths": widths}


def text(facts: dict[str, Any]) -> str:
    """The same for a person to read."""
    lines = [f"{name:12} {value}" for name, value in facts.items() if isinstance(value, str)]
    lines.append(f"{'cells':12} {', '.join(facts['cells'])}")
    lines += [f"backend      {name}: {status}" for name, status in facts["backends"].items()]
    if facts["simd_widths"]:
        lines.append(f"{'SIMD':12} {', '.join(facts['simd_widths'])} (the last is used)")
    return "\n".join(lines)
