"""Lyapunov's direct method, one setting a file; PROVED always means an exactly rechecked certificate."""

from fastweights.dynamics.lyapunov.direct_method import globally_stable, region_of_attraction
from fastweights.dynamics.lyapunov.linear import linear_field, linear_map
from fastweights.dynamics.lyapunov.polynomial import nonnegative
from fastweights.dynamics.lyapunov.sampling import Level, failing_level, falsify, orbital_derivative
from fastweights.dynamics.lyapunov.sector import tanh_map

__all__ = [
    "Level",
    "failing_level",
    "falsify",
    "globally_stable",
    "linear_field",
    "linear_map",
    "nonnegative",
    "orbital_derivative",
    "region_of_attraction",
    "tanh_map",
]
