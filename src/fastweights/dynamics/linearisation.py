"""What the eigenvalues of the Jacobian say about an equilibrium, and when they say nothing (Hartman–Grobman)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from fastweights.dynamics.checks import check_square

Kind = Literal["stable node", "stable focus", "unstable node", "unstable focus", "saddle", "undecided"]
Stability = Literal["asymptotically stable", "unstable", "undecided"]


class Linearisation(NamedTuple):
    """Eigenvalues (N,) and how many of them lie on the stable side of the boundary, on the unstable side and on it.

    The boundary is the imaginary axis for a field and the unit circle for a map.
    """

    eigenvalues: Complex[Tensor, " N"]
    stable: int
    unstable: int
    centre: int
    margin: float
    """What is nearer than this to the boundary counts as on it, and an imaginary part as small as this as none."""

    @property
    def hyperbolic(self) -> bool:
        """No eigenvalue on the boundary: only then does the linear system show the type of the nonlinear one."""
        return self.centre == 0

    @property
    def stability(self) -> Stability:
        """One eigenvalue outside makes unstable; all inside, asymptotically stable; else higher orders decide."""
        if self.unstable:
            return "unstable"
        return "asymptotically stable" if self.hyperbolic else "undecided"

    @property
    def kind(self) -> Kind:
        """Node (all eigenvalues real), focus (some not) or saddle; undecided if not hyperbolic, as centres are not."""
        if not self.hyperbolic:
            return "undecided"
        if self.stable and self.unstable:
            return "saddle"
        real = bool((self.eigenvalues.imag.abs() <= self.margin).all())
        if self.stable:
            return "stable node" if real else "stable focus"
        return "unstable node" if real else "unstable focus"


def linearise_field(jacobian: Float[Tensor, "N N"], tolerance: float | None = None) -> Linearisation:
    """Sort the eigenvalues of a field's Jacobian by the sign of their real parts.

    Those within `tolerance` (relative to the largest) of the boundary count as on it. None is 10 √ε, ε the dtype's
    machine epsilon: rounding splits a double eigenvalue by about √ε. Raises UsageError for a matrix that is not square
    or not finite.
    """
    check_square("jacobian", jacobian)
    eigenvalues = torch.linalg.eigvals(jacobian)
    return _sort(eigenvalues, eigenvalues.real, float(eigenvalues.abs().max()), tolerance)


def linearise_map(jacobian: Float[Tensor, "N N"], tolerance: float | None = None) -> Linearisation:
    """Sort the eigenvalues of a map's Jacobian by their modulus against 1; otherwise as `linearise_field`.

    `tolerance` is relative to the largest modulus, or to 1 if that is larger.
    """
    check_square("jacobian", jacobian)
    eigenvalues = torch.linalg.eigvals(jacobian)
    return _sort(eigenvalues, eigenvalues.abs() - 1, max(1.0, float(eigenvalues.abs().max())), tolerance)


def _sort(eigenvalues: Tensor, outside: Tensor, scale: float, tolerance: float | None) -> Linearisation:
    margin = scale * (10 * torch.finfo(outside.dtype).eps ** 0.5 if tolerance is None else tolerance)
    stable, unstable = int((outside < -margin).sum()), int((outside > margin).sum())
    return Linearisation(eigenvalues, stable, unstable, len(eigenvalues) - stable - unstable, margin)
