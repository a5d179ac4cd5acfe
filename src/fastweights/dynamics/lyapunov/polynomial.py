"""Sums of squares: polynomials shown to be nowhere negative by a Gram matrix, rechecked in rational arithmetic.

p = zᵀQz with monomials z and Q ⪰ 0 is a sum of squares. The solver's Q is rounded to fractions and projected back onto
the affine space {Q : zᵀQz = p}, which spreads each coefficient's defect evenly over the entries that make it; the
result is accepted if it is exactly positive semidefinite (Peyrl & Parrilo 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import scipy.optimize
import sympy

from fastweights.dynamics.lyapunov.exact import Rational, is_positive_semidefinite
from fastweights.dynamics.lyapunov.semidefinite import load_solver, solve
from fastweights.dynamics.verdicts import Finding, proved, refuted, undecided
from fastweights.errors import UsageError

Exponents = tuple[int, ...]


def nonnegative(polynomial: sympy.Expr, variables: Sequence[sympy.Symbol]) -> Finding:
    """Whether p ≥ 0 everywhere, p a polynomial with rational coefficients.

    PROVED if p is a sum of squares: the certificate holds `monomials` and the rational `gram` matrix. REFUTED with a
    point whose exact value is negative. UNDECIDED otherwise: Motzkin's x⁴y² + x²y⁴ − 3x²y² + 1 is nowhere negative,
    and no sum of squares.

    Raises UsageError if p is not such a polynomial, and without the `certify` extra.
    """
    p = as_polynomial("polynomial", polynomial, variables)
    claim = f"{polynomial} ≥ 0 everywhere"
    gram = sum_of_squares(p)
    if gram is not None:
        monomials, Q = gram
        return proved(claim, "a sum of squares, zᵀQz with Q ⪰ 0", {"monomials": monomials, "gram": Q})
    point = _negative_point(p)
    if point is not None:
        return refuted(
            claim, f"its value here is {float(p.eval(tuple(point))):.6g}", tuple(map(float, point)), exact_point=point
        )
    return undecided(claim, "no sum of squares was found, and no point where it is negative")


def as_polynomial(name: str, expression: sympy.Expr, variables: Sequence[sympy.Symbol]) -> sympy.Poly:
    """`expression` over the rationals; UsageError for what is not a polynomial with exact coefficients."""
    if not variables:
        raise UsageError("variables must name at least one symbol")
    try:
        if sympy.sympify(expression).has(sympy.Float):
            raise UsageError(f"{name} must have exact coefficients, got a float in {expression}; use sympy.Rational")
        return sympy.Poly(expression, *variables, domain="QQ")
    except (sympy.PolynomialError, sympy.CoercionFailed) as error:
        raise UsageError(f"{name} must be a polynomial in {variables} over the rationals, got {expression}") from error


def sum_of_squares(p: sympy.Poly) -> tuple[tuple[Exponents, ...], Rational] | None:
    """Exponents z and an exactly positive semidefinite rational Q with p = zᵀQz; None if none was found."""
    basis = half_newton_polytope(p.monoms())
    if not basis:
        return None
    cells = _cells(basis)
    coefficients = {m: Fraction(int(c.p), int(c.q)) for m, c in p.terms()}
    if not coefficients.keys() <= cells.keys():
        return None
    gram = _solve_gram(len(basis), cells, coefficients)
    if gram is None:
        return None
    for bits in (10, 20, 30, 40):
        Q = _project(gram, cells, coefficients, bits)
        if is_positive_semidefinite(Q):
            return tuple(basis), Q
    return None


def search(
    constraints: Sequence[tuple[sympy.Poly, Sequence[sympy.Poly]]], *, maximise_first: bool = False
) -> list[Fraction] | None:
    """Coefficients c for which every p + Σ c_k q_k, (p, q) in `constraints`, is a sum of squares up to rounding.

    Among them those farthest inside the cone, or with `maximise_first` those of the largest c₁. None if there are none.
    """
    cvxpy = load_solver()
    free, margin = cvxpy.Variable(len(constraints[0][1])), cvxpy.Variable()
    equations = [margin == 0] if maximise_first else [margin <= 1, margin >= 0]
    for fixed, terms in constraints:
        basis = half_newton_polytope(sorted({m for q in (fixed, *terms) for m in q.monoms()}))
        cells = _cells(basis)
        Q = cvxpy.Variable((len(basis), len(basis)), symmetric=True)
        equations.append(Q >> margin * np.eye(len(basis)))
        for monomial, entries in cells.items():
            made = float(fixed.coeff_monomial(monomial)) + sum(
                float(q.coeff_monomial(monomial)) * free[k] for k, q in enumerate(terms)
            )
            equations.append(sum(Q[i, j] for i, j in entries) == made)
    if not solve(cvxpy.Problem(cvxpy.Maximize(free[0] if maximise_first else margin), equations)):
        return None
    return [Fraction(round(float(c) * 2**20), 2**20) for c in free.value]


def half_newton_polytope(monomials: Sequence[Exponents]) -> list[Exponents]:
    """The monomials that can occur in the squares of p: those whose double lies in the convex hull of p's."""
    points = np.array(monomials, dtype=float)
    candidates = product(*(range(int(d) // 2 + 1) for d in points.max(axis=0)))
    lowest, highest = points.sum(axis=1).min(), points.sum(axis=1).max()
    # The degree rules out most candidates without a linear program.
    return [m for m in candidates if lowest <= 2 * sum(m) <= highest and _in_hull(2.0 * np.array(m), points)]


def _in_hull(point: np.ndarray, points: np.ndarray) -> bool:
    equations = np.vstack((points.T, np.ones(len(points))))
    result = scipy.optimize.linprog(np.zeros(len(points)), A_eq=equations, b_eq=np.append(point, 1.0))
    return bool(result.status == 0)


def _cells(basis: Sequence[Exponents]) -> dict[Exponents, list[tuple[int, int]]]:
    """For every monomial, the entries of Q whose products z_i z_j make it."""
    cells: dict[Exponents, list[tuple[int, int]]] = {}
    for (i, a), (j, b) in product(enumerate(basis), repeat=2):
        cells.setdefault(tuple(x + y for x, y in zip(a, b, strict=True)), []).append((i, j))
    return cells


def _solve_gram(
    size: int, cells: dict[Exponents, list[tuple[int, int]]], coefficients: dict[Exponents, Fraction]
) -> np.ndarray | None:
    """A Gram matrix as far inside the cone as there is one, so that rounding leaves it there."""
    cvxpy = load_solver()
    Q, margin = cvxpy.Variable((size, size), symmetric=True), cvxpy.Variable()
    constraints = [Q >> margin * np.eye(size), margin <= 1]
    for monomial, entries in cells.items():
        constraints.append(sum(Q[i, j] for i, j in entries) == float(coefficients.get(monomial, 0)))
    # Slightly negative margins are left to the exact check: a singular Q is where 0 is attained.
    if not solve(cvxpy.Problem(cvxpy.Maximize(margin), constraints)) or margin.value < -1e-6:
        return None
    return np.asarray(Q.value)


def _project(
    gram: np.ndarray,
    cells: dict[Exponents, list[tuple[int, int]]],
    coefficients: dict[Exponents, Fraction],
    bits: int,
) -> Rational:
    """Round to multiples of 2^−bits, then move orthogonally onto the matrices that reproduce the coefficients."""
    symmetric = (gram + gram.T) / 2
    Q: Rational = np.vectorize(lambda x: Fraction(round(x * 2**bits), 2**bits), otypes=[object])(symmetric)
    for monomial, entries in cells.items():
        defect = coefficients.get(monomial, Fraction(0)) - sum((Q[i, j] for i, j in entries), Fraction(0))
        for i, j in entries:
            Q[i, j] += defect / len(entries)
    return Q


def _negative_point(p: sympy.Poly) -> list[sympy.Rational] | None:
    """A rational point at which p is exactly negative, sought by descent from 32 starts; None if none was found."""
    value = sympy.lambdify(p.gens, p.as_expr(), "numpy")
    gradient = sympy.lambdify(p.gens, [p.diff(x).as_expr() for x in p.gens], "numpy")
    rng = np.random.default_rng(0)
    for start in rng.normal(scale=2.0, size=(32, len(p.gens))):
        found = scipy.optimize.minimize(
            lambda x: float(value(*x)),
            start,
            jac=lambda x: np.array(gradient(*x), dtype=float),
            options={"maxiter": 50},
        )
        if not np.isfinite(found.x).all():
            continue
        point = [sympy.Rational(Fraction(float(x)).limit_denominator(10**6)) for x in found.x]
        if p.eval(tuple(point)) < 0:
            return point
    return None
