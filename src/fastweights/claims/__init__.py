"""Every mathematical claim of the seed report as a program with a verdict: one file a section, one function a claim."""

from __future__ import annotations

import importlib

from fastweights import discovery
from fastweights.claims.base import Claim, claims_of


def names() -> tuple[str, ...]:
    """Names of the sections' files, in the order of the report."""
    return discovery.names(__name__)


def load(name: str) -> tuple[str, list[Claim]]:
    """Title and claims of one section, by the name of its file."""
    module = importlib.import_module(f"{__name__}.{name}")
    title = (module.__doc__ or name).splitlines()[0]
    return title, claims_of(module)
