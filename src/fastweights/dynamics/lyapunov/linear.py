"""Lyapunov's direct method for linear systems: V = xᵀPx from a Lyapunov equation, rechecked exactly.

Solving AᵀP + PA = −I (or AᵀPA − P = −I for a map) gives a V that falls along every trajectory. If P is positive
definite the origin is asymptotically stable. If xᵀPx < 0 for some x, the trajectory from there can never reach the
origin, where V = 0, because V keeps falling: asymptotic stability is refuted by x. Where the equation is singular, as
for a centre, some V ≠ 0 is conserved instead, and every x with V(x) ≠ 0 refutes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import scipy.linalg
import sympy
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.checks import check_square
from fastweights.dynamics.lyapunov.exact import Rational, is_positive_definite, rational
from fastweights.dynamics.verdicts import Finding, proved, refuted, undecided

# The conserved V is sought among N(N+1)/2 unknowns in exact arithmetic.
CONSERVED_UP_TO = 6


def linear_field(A: Float[Tensor, "N N"]) -> Finding:
    """Whether the origin is asymptotically stable for dx/dt = A x, hence globally.

    The certificate holds P and the decrease −(AᵀP + PA), which is exactly positive definite, or exactly zero where V is
    conserved. UNDECIDED if rounding errors in P defeat the recheck, as they do on the boundary for N > 6.

    Raises UsageError for an A that is not square or not finite.
    """
    check_square("A", A)
    claim = f"0 is asymptotically stable for dx/dt = A x, N = {len(A)}"
    a = A.detach().double().cpu().numpy()
    eigenvalues = np.linalg.eigvals(a)
    exact_a = rational(a)

    def decrease(P: Rational) -> Rational:
        falls: Rational = -(exact_a.T @ P + P @ exact_a)
        return falls

    if (
        np.abs(eigenvalues[:, None] + eigenvalues).min() <= 1e-9 * np.abs(eigenvalues).max()
        and len(a) <= CONSERVED_UP_TO
    ):
        conserved = _conserved(claim, decrease, len(a))
        if conserved is not None:
            return conserved
    return _judge(claim, _solve(scipy.linalg.solve_continuous_lyapunov, a.T, -np.eye(len(a))), decrease)


def linear_map(A: Float[Tensor, "N N"]) -> Finding:
    """Whether the origin is asymptotically stable for x ← A x, hence globally; as `linear_field`, with P − AᵀPA."""
    check_square("A", A)
    claim = f"0 is asymptotically stable for x ← A x, N = {len(A)}"
    a = A.detach().double().cpu().numpy()
    eigenvalues = np.linalg.eigvals(a)
    exact_a = rational(a)

    def decrease(P: Rational) -> Rational:
        falls: Rational = P - exact_a.T @ P @ exact_a
        return falls

    with np.errstate(over="ignore", invalid="ignore"):  # a product that overflows is not 1
        nearest = np.abs(eigenvalues[:, None] * eigenvalues - 1).min()
    if nearest <= 1e-9 and len(a) <= CONSERVED_UP_TO:
        conserved = _conserved(claim, decrease, len(a))
        if conserved is not None:
            return conserved
    return _judge(claim, _solve(scipy.linalg.solve_discrete_lyapunov, a.T, np.eye(len(a))), decrease)


def _judge(claim: str, P: np.ndarray | None, decrease: Callable[[Rational], Rational]) -> Finding:
    if P is None:
        return undecided(claim, "the Lyapunov equation is singular to double precision")
    exact_p = rational(P)
    falls = decrease(exact_p)
    if not is_positive_definite(falls):
        return undecided(claim, "P is too inaccurate in double precision: V does not fall exactly")
    if is_positive_definite(exact_p):
        reason = "V = xᵀPx is positive definite and falls along every trajectory"
        return proved(claim, reason, {"P": exact_p, "decrease": falls})
    x = np.linalg.eigh(P)[1][:, 0]
    exact_x = rational(x)
    if exact_x @ exact_p @ exact_x >= 0:
        return undecided(claim, "P is indefinite, but no direction of negative V was found exactly")
    return refuted(claim, "V = xᵀPx falls for ever and is negative here", tuple(x.tolist()), P=exact_p, decrease=falls)


def _conserved(claim: str, decrease: Callable[[Rational], Rational], size: int) -> Finding | None:
    """A refutation by some P ≠ 0 whose decrease is exactly zero; None if there is none."""
    places = [(i, j) for i in range(size) for j in range(i + 1)]
    columns = [[entry for row in decrease(_symmetric_unit(size, i, j)) for entry in row] for i, j in places]
    kernel = sympy.Matrix(columns).T.nullspace()
    if not kernel:
        return None
    weights = [Fraction(int(c.p), int(c.q)) for c in kernel[0]]
    P: Rational = np.full((size, size), Fraction(0), dtype=object)
    for weight, (i, j) in zip(weights, places, strict=True):
        P[i, j] = P[j, i] = weight
    # A quadratic form that vanishes at every e_i and every e_i + e_j is zero.
    points = [np.array([Fraction(k in (i, j)) for k in range(size)]) for i, j in places]
    x = next(point for point in points if point @ P @ point != 0)
    return refuted(claim, "V = xᵀPx is conserved and not 0 here", tuple(map(float, x)), P=P, decrease=decrease(P))


def _symmetric_unit(size: int, i: int, j: int) -> Rational:
    """The symmetric matrix with ones at (i, j) and (j, i), else zero."""
    unit: Rational = np.full((size, size), Fraction(0), dtype=object)
    unit[i, j] = unit[j, i] = Fraction(1)
    return unit


def _solve(solver: Callable[[np.ndarray, np.ndarray], np.ndarray], a: np.ndarray, q: np.ndarray) -> np.ndarray | None:
    with warnings.catch_warnings():
        # scipy warns of ill-conditioned equations; the exact recheck decides whether P is good enough.
        warnings.simplefilter("ignore")
        try:
            P = solver(a, q)
        except (np.linalg.LinAlgError, ValueError):  # ValueError: an intermediate result overflowed
            return None
    symmetric: np.ndarray = (P + P.T) / 2
    return symmetric if np.isfinite(symmetric).all() else None
