"""Lyapunov's direct method for linear systems: V = xᵀPx from a Lyapunov equation, rechecked exactly.

Solving AᵀP + PA = −I (or AᵀPA − P = −I for a map) gives a V that falls along every trajectory. If P is positive
definite the origin is asymptotically stable. If xᵀPx < 0 for some x, the trajectory from there can never reach the
origin, where V = 0, because V keeps falling: asymptotic stability is refuted by x.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import scipy.linalg
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.checks import check_square
from fastweights.dynamics.lyapunov.exact import Rational, is_positive_definite, rational
from fastweights.dynamics.verdicts import Finding, proved, refuted, undecided


def linear_field(A: Float[Tensor, "N N"]) -> Finding:
    """Whether the origin is asymptotically stable for dx/dt = A x, hence globally.

    The certificate holds P and the decrease −(AᵀP + PA), both exactly positive definite when PROVED. UNDECIDED when
    two eigenvalues add up to about 0, as a centre's do: V = xᵀPx with a definite derivative then does not exist.
    Raises UsageError for an A that is not square or not finite.
    """
    check_square("A", A)
    claim = f"0 is asymptotically stable for dx/dt = A x, N = {len(A)}"
    a = A.detach().double().cpu().numpy()
    eigenvalues = np.linalg.eigvals(a)
    if np.abs(eigenvalues[:, None] + eigenvalues).min() <= 1e-12 * np.abs(eigenvalues).max():
        return undecided(claim, "two eigenvalues add up to 0: the Lyapunov equation has no unique solution")
    P = _solve(scipy.linalg.solve_continuous_lyapunov, a.T, -np.eye(len(a)))
    exact_a = rational(a)
    return _judge(claim, P, -(exact_a.T @ rational(P) + rational(P) @ exact_a))


def linear_map(A: Float[Tensor, "N N"]) -> Finding:
    """Whether the origin is asymptotically stable for x ← A x, hence globally; as `linear_field`, with P − AᵀPA.

    UNDECIDED when the product of two eigenvalues is about 1.
    """
    check_square("A", A)
    claim = f"0 is asymptotically stable for x ← A x, N = {len(A)}"
    a = A.detach().double().cpu().numpy()
    eigenvalues = np.linalg.eigvals(a)
    if np.abs(eigenvalues[:, None] * eigenvalues - 1).min() <= 1e-12:
        return undecided(claim, "the product of two eigenvalues is 1: the Lyapunov equation has no unique solution")
    P = _solve(scipy.linalg.solve_discrete_lyapunov, a.T, np.eye(len(a)))
    exact_a = rational(a)
    return _judge(claim, P, rational(P) - exact_a.T @ rational(P) @ exact_a)


def _judge(claim: str, P: np.ndarray, decrease: Rational) -> Finding:
    exact_p = rational(P)
    if not is_positive_definite(decrease):
        return undecided(claim, "P is too inaccurate in double precision: V does not fall exactly")
    if is_positive_definite(exact_p):
        reason = "V = xᵀPx is positive definite and falls along every trajectory"
        return proved(claim, reason, {"P": exact_p, "decrease": decrease})
    x = np.linalg.eigh(P)[1][:, 0]
    exact_x = rational(x)
    if exact_x @ exact_p @ exact_x >= 0:
        return undecided(claim, "P is indefinite, but no direction of negative V was found exactly")
    return refuted(
        claim, "V = xᵀPx falls for ever and is negative here", tuple(x.tolist()), P=exact_p, decrease=decrease
    )


def _solve(solver: Callable[[np.ndarray, np.ndarray], np.ndarray], a: np.ndarray, q: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        # scipy warns of ill-conditioned equations; the exact recheck decides whether P is good enough.
        warnings.simplefilter("ignore")
        P = solver(a, q)
    symmetric: np.ndarray = (P + P.T) / 2
    return symmetric
