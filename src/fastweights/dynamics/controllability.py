"""Controllability and observability of linear systems, and of nonlinear ones linearised at a point.

The system is dx/dt = A x + B u or x ← A x + B u, read out by y = C x, with A (N, N), B (N, M) and C (P, N).
Observability of (A, C) is controllability of (Aᵀ, Cᵀ) (Kalman's duality), so that only the latter is computed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.checks import check_finite, check_square
from fastweights.dynamics.maps import DrivenStep
from fastweights.errors import UsageError, check_count


class LinearSystem(NamedTuple):
    """A (N, N), how the state acts on itself, and B (N, M), how the input acts on the state."""

    A: Float[Tensor, "N N"]
    B: Float[Tensor, "N M"]


def linearise_driven(function: DrivenStep, state: Float[Tensor, " N"], control: Float[Tensor, " M"]) -> LinearSystem:
    """∂F/∂x and ∂F/∂u of a map or field F(x, u) at one state and control; UsageError if they are not finite."""
    A, B = torch.func.jacrev(function, argnums=(0, 1))(state, control)
    check_square("the Jacobian of function by state", A)
    check_finite("the Jacobian of function by control", B)
    return LinearSystem(A, B)


def controllability_matrix(A: Float[Tensor, "N N"], B: Float[Tensor, "N M"]) -> Float[Tensor, "N NM"]:
    """Kalman's [B, AB, …, A^{N−1}B]: the system is controllable if and only if its rank is N."""
    _check_pair(A, B)
    blocks = [B]
    for _ in range(len(A) - 1):
        blocks.append(A @ blocks[-1])
    return torch.cat(blocks, dim=1)


def controllable_rank(A: Float[Tensor, "N N"], B: Float[Tensor, "N M"], tolerance: float | None = None) -> int:
    """Dimension of the reachable subspace, the rank of `controllability_matrix`.

    The subspace is built as an orthonormal basis, block by block, so that the powers of A neither overflow nor align;
    directions shorter than `tolerance` relative to ‖A‖ count as inside it. None is ε^(2/3) for the dtype's machine
    epsilon ε: 4e-11 in float64, 2e-5 in float32. So weak a coupling counts as none; scale the states to see it.
    """
    _check_pair(A, B)
    if tolerance is None:
        tolerance = torch.finfo(A.dtype).eps ** (2 / 3)
    a = A / max(float(torch.linalg.matrix_norm(A, 2)), torch.finfo(A.dtype).tiny)
    basis = B.new_zeros(len(A), 0)
    block = B / max(float(torch.linalg.matrix_norm(B, 2)), torch.finfo(B.dtype).tiny)
    while block.shape[1] and basis.shape[1] < len(A):
        # Projecting twice: once leaves rounding errors along the basis that the powers of A would amplify.
        for _ in range(2):
            block = block - basis @ (basis.T @ block)
        left, sizes, _ = torch.linalg.svd(block, full_matrices=False)
        fresh = left[:, sizes > tolerance]
        basis, block = torch.cat((basis, fresh), dim=1), a @ fresh
    return basis.shape[1]


def observability_matrix(A: Float[Tensor, "N N"], C: Float[Tensor, "P N"]) -> Float[Tensor, "PN N"]:
    """[C; CA; …; CA^{N−1}]: the system is observable if and only if its rank is N."""
    return controllability_matrix(A.T, C.T).T


def observable_rank(A: Float[Tensor, "N N"], C: Float[Tensor, "P N"], tolerance: float | None = None) -> int:
    """N minus the dimension of the states that the output cannot tell from zero."""
    return controllable_rank(A.T, C.T, tolerance)


def gramian_of_flow(
    A: Float[Tensor, "N N"], B: Float[Tensor, "N M"], horizon: float | None = None
) -> Float[Tensor, "N N"]:
    """∫₀ᵗ e^{As} B Bᵀ e^{Aᵀs} ds for dx/dt = A x + B u, t = `horizon`; None is t → ∞.

    The least energy ∫‖u‖² that brings the state from 0 to x in that time is xᵀ G⁻¹ x. The observability Gramian of
    (A, C) is this function of (Aᵀ, Cᵀ). Finite horizons by Van Loan's (1978) block exponential and doubling.

    Raises UsageError for an infinite horizon unless every eigenvalue of A has a negative real part.
    """
    _check_pair(A, B)
    a, b = _numpy(A), _numpy(B)
    if horizon is None:
        _check_stable(float(np.linalg.eigvals(a).real.max()) < 0, "eigenvalues of negative real part")
        return torch.from_numpy(scipy.linalg.solve_continuous_lyapunov(a, -b @ b.T)).to(A)
    if not 0 < horizon < float("inf"):
        raise UsageError(f"horizon must be positive and finite (or None for infinite), got {horizon!r}")
    # The block exponential holds e^{−At}, which overflows for long horizons: begin short, then double the time.
    doublings = max(0, math.ceil(math.log2(max(horizon * float(np.linalg.norm(a, 2)), 1.0))))
    n, short = len(a), horizon / 2**doublings
    exponential = scipy.linalg.expm(short * np.block([[-a, b @ b.T], [np.zeros((n, n)), a.T]]))
    propagator = exponential[n:, n:].T
    gramian = propagator @ exponential[:n, n:]
    for _ in range(doublings):
        gramian = gramian + propagator @ gramian @ propagator.T
        propagator = propagator @ propagator
    return torch.from_numpy(gramian).to(A)


def gramian_of_map(A: Float[Tensor, "N N"], B: Float[Tensor, "N M"], steps: int | None = None) -> Float[Tensor, "N N"]:
    """Σ_{k<steps} Aᵏ B Bᵀ (Aᵀ)ᵏ for x ← A x + B u; None is infinitely many.

    Raises UsageError for infinitely many unless every eigenvalue of A lies inside the unit circle.
    """
    _check_pair(A, B)
    if steps is None:
        a, b = _numpy(A), _numpy(B)
        _check_stable(float(np.abs(np.linalg.eigvals(a)).max()) < 1, "eigenvalues inside the unit circle")
        return torch.from_numpy(scipy.linalg.solve_discrete_lyapunov(a, b @ b.T)).to(A)
    check_count("steps", steps, 1)
    gramian = term = B @ B.T
    for _ in range(steps - 1):
        term = A @ term @ A.T
        gramian = gramian + term
    return gramian


def _check_pair(A: Tensor, B: Tensor) -> None:
    check_square("A", A)
    if B.dim() != 2 or B.shape[0] != A.shape[0]:
        raise UsageError(f"B must be ({A.shape[0]}, M) to fit A (C is passed transposed), got shape {tuple(B.shape)}")
    check_finite("B", B)


def _check_stable(stable: bool, needs: str) -> None:
    if not stable:
        raise UsageError(f"A must have {needs} for an infinite horizon; give a finite one")


def _numpy(matrix: Tensor) -> np.ndarray:
    return matrix.detach().double().cpu().numpy()
