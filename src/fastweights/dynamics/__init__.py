"""Dynamical systems: feedback, equilibria, stability, chaos, and how gradients flow through time.

Everything works on a plain step or field of one state (see `fastweights.dynamics.maps`), never on a model class.
"""

from fastweights.dynamics import lyapunov, systems
from fastweights.dynamics.basins import basins, grid
from fastweights.dynamics.bptt import immediate_jacobian, weight_jacobian
from fastweights.dynamics.controllability import (
    LinearSystem,
    controllability_matrix,
    controllable_rank,
    gramian_of_flow,
    gramian_of_map,
    linearise_driven,
    observability_matrix,
    observable_rank,
)
from fastweights.dynamics.equilibria import Equilibria, SlowPoints, equilibria, fixed_points, slow_points
from fastweights.dynamics.exponents import LyapunovSpectrum, driven_lyapunov_spectrum, lyapunov_spectrum
from fastweights.dynamics.feedback import (
    Moments,
    impulse_response,
    noise_response,
    regime,
    simulate,
    stationary_response,
    step_response,
)
from fastweights.dynamics.gradient_flow import (
    DecayFit,
    decay_exponent,
    gradient_norms,
    log_jacobian_product_norms,
    spectral_radius,
)
from fastweights.dynamics.inner_loop import Contraction, contraction
from fastweights.dynamics.linearisation import Linearisation, linearise_field, linearise_map
from fastweights.dynamics.maps import jacobian, runge_kutta_4, trajectory
from fastweights.dynamics.memory_paths import MemoryPaths, memory_paths
from fastweights.dynamics.stability import (
    asymptotically_stable,
    ball,
    convergent,
    globally_asymptotically_stable,
    uniformly_stable,
)
from fastweights.dynamics.tangents import ProductNorm, product_norm, pull_back, push_forward
from fastweights.dynamics.vector_field import VectorField, vector_field
from fastweights.dynamics.verdicts import Finding, Verdict

__all__ = [
    "Contraction",
    "DecayFit",
    "Equilibria",
    "Finding",
    "LinearSystem",
    "Linearisation",
    "LyapunovSpectrum",
    "MemoryPaths",
    "Moments",
    "ProductNorm",
    "SlowPoints",
    "VectorField",
    "Verdict",
    "asymptotically_stable",
    "ball",
    "basins",
    "contraction",
    "controllability_matrix",
    "controllable_rank",
    "convergent",
    "decay_exponent",
    "driven_lyapunov_spectrum",
    "equilibria",
    "fixed_points",
    "globally_asymptotically_stable",
    "gradient_norms",
    "gramian_of_flow",
    "gramian_of_map",
    "grid",
    "immediate_jacobian",
    "impulse_response",
    "jacobian",
    "linearise_driven",
    "linearise_field",
    "linearise_map",
    "log_jacobian_product_norms",
    "lyapunov",
    "lyapunov_spectrum",
    "memory_paths",
    "noise_response",
    "observability_matrix",
    "observable_rank",
    "product_norm",
    "pull_back",
    "push_forward",
    "regime",
    "runge_kutta_4",
    "simulate",
    "slow_points",
    "spectral_radius",
    "stationary_response",
    "step_response",
    "systems",
    "trajectory",
    "uniformly_stable",
    "vector_field",
    "weight_jacobian",
]
