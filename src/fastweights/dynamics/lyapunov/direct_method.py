"""Lyapunov's direct method for polynomial fields: stability from everywhere, and the region of attraction.

Both look for the certificate with a semidefinite program and hand rounded polynomials to the exact sum-of-squares
check of `fastweights.dynamics.lyapunov.polynomial`. Coefficients are sympy rationals throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import sympy

from fastweights.dynamics.lyapunov.exact import is_positive_definite
from fastweights.dynamics.lyapunov.polynomial import Exponents, as_polynomial, search, sum_of_squares
from fastweights.dynamics.verdicts import Finding, proved, undecided
from fastweights.errors import UsageError


def globally_stable(field: Sequence[sympy.Expr], variables: Sequence[sympy.Symbol], degree: int = 2) -> Finding:
    """Whether the origin is globally asymptotically stable for a polynomial field.

    Looks for a V of the given even degree without constant and linear terms such that V − ‖x‖²/2 and −V̇ − ‖x‖²/2 are
    sums of squares: then V is positive definite and radially unbounded, without which V̇ < 0 would not do, and V̇ is
    negative definite. PROVED with `V` and both rational Gram matrices, or UNDECIDED; never REFUTED, because a missing V
    refutes nothing.

    Raises UsageError for a field that is not polynomial or does not vanish at 0, an odd degree, and without the
    `certify` extra.
    """
    F = _check_field(field, variables)
    if degree < 2 or degree % 2:
        raise UsageError(f"degree must be even and at least 2, got {degree!r}")
    claim = f"0 is globally asymptotically stable for dx/dt = {tuple(field)}"
    squared = _squared_norm(variables)
    terms = [_monomial(m, variables) for m in _monomials(len(F), 2, degree)]
    coefficients = search([(-squared, terms), (-squared, [-_derivative(term, F) for term in terms])])
    if coefficients is None:
        return undecided(claim, f"no V of degree {degree} was found")
    V = _combine(coefficients, terms)
    value, decrease = sum_of_squares(V - squared / 2), sum_of_squares(-_derivative(V, F) - squared / 2)
    if value is None or decrease is None:
        return undecided(claim, f"the V of degree {degree} that was found did not survive exact rechecking")
    certificate = {"V": V.as_expr(), "value_gram": value, "decrease_gram": decrease}
    return proved(claim, "V and −V̇ exceed ‖x‖²/2 by sums of squares", certificate)


def region_of_attraction(
    field: Sequence[sympy.Expr],
    variables: Sequence[sympy.Symbol],
    V: sympy.Expr,
    *,
    multiplier_degree: int = 2,
    shrink: float = 1e-5,
) -> Finding:
    """The largest level ρ for which {V < ρ} is shown to lie in the origin's basin, V = xᵀPx given.

    If s = ‖x‖^{2d} (V − ρ) + λ(x) V̇ is a sum of squares for some polynomial λ, then V ≥ ρ wherever V̇ = 0, x ≠ 0. With
    V positive definite and V̇ negative near 0 by its quadratic part, both checked exactly, V̇ < 0 on all of
    {0 < V < ρ}, which is bounded: every trajectory from there tends to 0. That ρ is the solver's optimum less the
    fraction `shrink`, which leaves room for rounding. PROVED with `rho`, `multiplier`, `monomials` and `gram`, else
    UNDECIDED; so too if every ρ will do, for which there is `globally_stable`.

    Raises UsageError for what is not a polynomial field that vanishes at 0, for a V that is not quadratic, for an odd
    multiplier degree, and without the `certify` extra.
    """
    F = _check_field(field, variables)
    quadratic = as_polynomial("V", V, variables)
    if any(sum(m) != 2 for m in quadratic.monoms()):
        raise UsageError(f"V must be a quadratic form, got {V}")
    if not 0 < shrink < 1:
        raise UsageError(f"shrink must be between 0 and 1, got {shrink!r}")
    if multiplier_degree < 0 or multiplier_degree % 2:
        raise UsageError(f"multiplier_degree must be even and at least 0, got {multiplier_degree!r}")
    claim = f"the set where {V} < ρ is in the basin of 0 of dx/dt = {tuple(field)}"
    rate = _derivative(quadratic, F)
    if not _is_definite(quadratic) or not _is_definite(-_quadratic_part(rate)):
        return undecided(claim, "V or −V̇ is not positive definite to second order at 0")
    degree = max(1, (multiplier_degree + rate.total_degree() - 2 + 1) // 2)
    weight = _squared_norm(variables) ** degree
    monomials = [_monomial(m, variables) for m in _monomials(len(F), 0, multiplier_degree)]
    terms = [monomial * rate for monomial in monomials]
    best = search([(weight * quadratic, [-weight, *terms])], maximise_first=True)
    if best is None or best[0] <= 0:
        return undecided(claim, f"no largest ρ was found with multipliers of degree {multiplier_degree}")
    ρ = _sympy((best[0] * Fraction(1 - shrink)).limit_denominator(10**6))
    inside = weight * (quadratic - ρ)
    chosen = search([(inside, terms)])
    if chosen is None:
        return undecided(claim, f"no multiplier is strictly feasible at ρ = {float(ρ):.6g}; raise shrink")
    multiplier = _combine(chosen, monomials)
    gram = sum_of_squares(inside + multiplier * rate)
    if gram is None:
        return undecided(claim, f"ρ = {float(ρ):.6g} did not survive exact rechecking; raise shrink")
    certificate = {"rho": ρ, "multiplier": multiplier.as_expr(), "monomials": gram[0], "gram": gram[1]}
    return proved(claim.replace("ρ", str(ρ)), "V̇ < 0 there off the origin, and the set is bounded", certificate)


def _check_field(field: Sequence[sympy.Expr], variables: Sequence[sympy.Symbol]) -> list[sympy.Poly]:
    if not 0 < len(field) == len(variables):
        raise UsageError(f"field must have one component for each of {len(variables)} variables, got {len(field)}")
    F = [as_polynomial("field", component, variables) for component in field]
    if any(component.eval((0,) * len(variables)) != 0 for component in F):
        raise UsageError(f"field must vanish at 0, got {tuple(field)}; shift the equilibrium to the origin")
    return F


def _derivative(V: sympy.Poly, field: Sequence[sympy.Poly]) -> sympy.Poly:
    """V̇ = ∇V · F."""
    terms = [V.diff(x) * component for x, component in zip(V.gens, field, strict=True)]
    return sum(terms[1:], terms[0])


def _squared_norm(variables: Sequence[sympy.Symbol]) -> sympy.Poly:
    return sympy.Poly(sum(x**2 for x in variables), *variables, domain="QQ")


def _monomials(count: int, lowest: int, highest: int) -> list[Exponents]:
    return [m for m in product(range(highest + 1), repeat=count) if lowest <= sum(m) <= highest]


def _monomial(exponents: Exponents, variables: Sequence[sympy.Symbol]) -> sympy.Poly:
    return sympy.Poly.from_dict({exponents: 1}, *variables, domain="QQ")


def _combine(coefficients: Sequence[Fraction], terms: Sequence[sympy.Poly]) -> sympy.Poly:
    parts = [term * _sympy(c) for c, term in zip(coefficients, terms, strict=True)]
    return sum(parts[1:], parts[0])


def _sympy(fraction: Fraction) -> sympy.Rational:
    return sympy.Rational(fraction.numerator, fraction.denominator)


def _quadratic_part(p: sympy.Poly) -> sympy.Poly:
    return sympy.Poly.from_dict({m: c for m, c in p.terms() if sum(m) == 2} or {(0,) * len(p.gens): 0}, *p.gens)


def _is_definite(form: sympy.Poly) -> bool:
    """Whether a quadratic form is positive definite, exactly."""
    hessian = sympy.hessian(form.as_expr(), form.gens)
    return is_positive_definite(np.array([[Fraction(int(c.p), int(c.q)) for c in row] for row in hessian.tolist()]))
