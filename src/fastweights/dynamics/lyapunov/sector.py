"""Global stability of h ← tanh(W h) by a linear matrix inequality.

Each unit of φ = tanh(v), v = W h, lies in the sector φ (v − φ) ≥ 0. With V = hᵀPh and a diagonal Λ ≥ 0,

    V(φ) − V(h) ≤ φᵀPφ − hᵀPh + 2 φᵀΛ(W h − φ) = [h; φ]ᵀ M [h; φ],   M = [[−P, WᵀΛ], [ΛW, P − 2Λ]],

so that P ≻ 0, Λ ≥ 0 and M ≺ 0 make the origin globally asymptotically stable. ‖W‖₂ < 1 is the special case P = I.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fastweights.dynamics.checks import check_square
from fastweights.dynamics.lyapunov.exact import Rational, is_positive_definite, rational
from fastweights.dynamics.lyapunov.linear import linear_map
from fastweights.dynamics.lyapunov.semidefinite import load_solver, solve
from fastweights.dynamics.verdicts import Finding, Verdict, proved, refuted, undecided


def tanh_map(weight_hh: Float[Tensor, "N N"]) -> Finding:
    """Whether the origin is globally asymptotically stable for h ← tanh(W h).

    PROVED with P and Λ, exactly rechecked for the given W. REFUTED if the linearisation W has, exactly, an eigenvalue
    outside the unit circle; the point is a direction along which V grows negative without bound for x ← W x, so that
    the origin repels nearby. UNDECIDED otherwise: the inequality is sufficient only.

    Raises UsageError for a W that is not square or not finite, and without the `certify` extra.
    """
    check_square("weight_hh", weight_hh)
    claim = f"0 is globally asymptotically stable for h ← tanh(W h), N = {len(weight_hh)}"
    load_solver()
    linear = linear_map(weight_hh)
    # A V that falls strictly means an eigenvalue outside the unit circle; one that is conserved, merely on it.
    strictly = linear.verdict is Verdict.REFUTED and is_positive_definite(linear.certificate["decrease"])
    if strictly and linear.point is not None:
        reason = "the linearisation W has an eigenvalue outside the unit circle, found in this direction"
        return refuted(claim, reason, linear.point, **linear.certificate)
    w = weight_hh.detach().double().cpu().numpy()
    solution = _solve(w)
    if solution is None:
        return undecided(claim, "the linear matrix inequality has no solution")
    P, Λ = rational(solution[0]), rational(np.diag(solution[1]))
    if not _holds(rational(w), P, Λ):
        return undecided(claim, "the solver's P and Λ do not satisfy the inequality exactly")
    return proved(claim, "V = hᵀPh falls at every step", {"P": P, "Lambda": Λ})


def _solve(w: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """P and the diagonal of Λ, well inside the feasible set."""
    cvxpy = load_solver()
    n = len(w)
    P, λ, margin = cvxpy.Variable((n, n), symmetric=True), cvxpy.Variable(n, nonneg=True), cvxpy.Variable()
    Λ = cvxpy.diag(λ)
    M = cvxpy.bmat([[-P, w.T @ Λ], [Λ @ w, P - 2 * Λ]])
    # The inequality is homogeneous in (P, Λ): the bound on P fixes the scale.
    constraints = [(M + M.T) / 2 << -margin * np.eye(2 * n), P << np.eye(n)]
    if not solve(cvxpy.Problem(cvxpy.Maximize(margin), constraints)) or margin.value <= 0:
        return None
    return (P.value + P.value.T) / 2, np.maximum(λ.value, 0)


def _holds(W: Rational, P: Rational, Λ: Rational) -> bool:
    """M ≺ 0, exactly. Its first block then makes P ≻ 0; Λ ≥ 0 by construction."""
    return is_positive_definite(np.block([[P, -W.T @ Λ], [-Λ @ W, 2 * Λ - P]]))
