"""Claims about feedback and dynamic systems: a fault in what they check turns each of them red."""

from importlib import import_module

import pytest
import torch
from matplotlib.figure import Figure

from fastweights import dynamics
from fastweights.claims import load
from fastweights.claims.base import run
from fastweights.dynamics import feedback, lyapunov, stability, systems

# The claims over and over; test_verify.py runs each with its annotations checked.
pytestmark = pytest.mark.usefixtures("as_installed")

SECTIONS = (
    "section_5_feedback",
    "section_5_1_dynamic_systems",
    "section_5_1_1_linearisation",
    "section_5_1_2_types_of_stability",
    "section_5_1_3_direct_method",
)
CLAIMS = {claim.id: claim for section in SECTIONS for claim in load(section)[1]}
solver = import_module("fastweights.dynamics.equilibria")  # the package's name for it is the function


def negated(right):
    return lambda *arguments: -right(*arguments)


def transposed(right):
    return lambda *arguments: right(*arguments).mT


def backwards_in_time(right):
    return lambda field, dt: right(field, -dt)


# For each claim: where the fault is made, and what it makes of the right function.
FAULTS = {
    "5/operator-series": (feedback, "simulate", lambda right: lambda w, x, before: right(w, x.roll(1, 1), before)),
    "5/decay": (feedback, "simulate", lambda right: lambda w, x: right(w.abs(), x)),
    "5/linear-trend": (feedback, "simulate", lambda right: lambda w, x: right(0.99 * w, x)),
    "5/exponential-growth": (feedback, "simulate", lambda right: lambda w, x: right(w.clamp(max=1), x)),
    "5/three-cases": (feedback, "regime", lambda right: lambda w: right(abs(w))),
    "5.1/first-power": (
        systems,
        "lorenz",
        lambda right: lambda: lambda x: torch.func.jvp(right(), (torch.zeros_like(x),), (x,))[1],
    ),
    "5.1/rnn-nonlinear": (systems, "tanh_network", lambda right: lambda W: lambda h: W @ h),
    "5.1/decoupled": (dynamics, "jacobian", transposed),
    "5.1/uniqueness": (dynamics, "runge_kutta_4", backwards_in_time),
    "5.1/existence-global": (dynamics, "runge_kutta_4", backwards_in_time),
    "5.1/finite-partials": (dynamics, "jacobian", lambda right: lambda *arguments: right(*arguments) / 2),
    "5.1/flow-criterion": (dynamics, "linearise_map", lambda right: dynamics.linearise_field),
    "5.1.1/first-order": (dynamics, "jacobian", transposed),
    "5.1.1/invertible": (systems, "cubic_centre", lambda right: lambda cubic: right(abs(cubic))),
    "5.1.1/frozen-eigenvalues": (systems, "markus_yamabe", lambda right: lambda t: right(-t)),
    "5.1.2/all-times": (stability, "_distances", lambda right: lambda *arguments: right(*arguments)[-1:]),
    "5.1.2/both-needed": (
        stability,
        "ball",
        lambda right: lambda centre, radius, samples, seed: right(centre, radius / 1000, samples, seed),
    ),
    "5.1.2/single-equilibrium": (
        solver,
        "_distinct",
        lambda right: lambda points, separation: right(points, 1e6 * separation),
    ),
    "5.1.2/neighbourhood": (systems, "reversed_van_der_pol", negated),
    "5.1.3/direct-method": (lyapunov.linear, "is_positive_definite", lambda right: lambda matrix: True),
    "5.1.3/radially-unbounded": (lyapunov.sampling, "orbital_derivative", negated),
    "5.1.3/sublevel-sets": (lyapunov, "orbital_derivative", negated),
    "5.1.3/controllability": (dynamics, "gramian_of_flow", lambda right: lambda A, B, horizon: right(A.T, B, horizon)),
}


def test_every_claim_has_a_fault():
    assert FAULTS.keys() == CLAIMS.keys()


@pytest.mark.parametrize("id", FAULTS)
def test_a_fault_turns_the_claim_red(id, monkeypatch):
    place, name, fault = FAULTS[id]
    monkeypatch.setattr(place, name, fault(getattr(place, name)))
    faulty = run(CLAIMS[id])
    assert not faulty.error, "the fault was to be measured, not to stop the check"
    assert not faulty.agrees


def drawn(id):
    figure = Figure(layout="constrained")
    CLAIMS[id].figure(figure)
    return figure.axes


def curves(axes):
    return {line.get_label(): torch.as_tensor(line.get_xydata()) for line in axes.lines}


def test_the_picture_of_regimes_has_its_points_on_their_closed_forms():
    panels = drawn("5/decay")
    assert len(panels) == 6
    for axes in panels:
        _, theory, impulse, closed_form, step = (torch.as_tensor(line.get_xydata()) for line in axes.lines)
        torch.testing.assert_close(impulse, theory)
        torch.testing.assert_close(step, closed_form)


def test_the_picture_of_equal_eigenvalues_shows_three_fates():
    (axes,) = drawn("5.1.1/invertible")
    # ṙ = c r³ has the solution r₀/√(1 − 2c r₀² t).
    for label, cubic in (("ṙ = −r³", -1), ("ṙ = 0", 0), ("ṙ = +r³", 1)):
        radius = float(curves(axes)[label][-1].norm())
        assert radius == pytest.approx(0.2 / (1 - 2 * cubic * 0.04 * 11) ** 0.5, rel=1e-5)


def test_the_picture_of_markus_and_yamabe_has_its_points_on_the_growing_line():
    (axes,) = drawn("5.1.1/frozen-eigenvalues")
    points, line = curves(axes)["‖x(t)‖"], curves(axes)["exp(t/2)"]
    torch.testing.assert_close(points, line[::20], rtol=1e-2, atol=0)
    assert curves(axes)["exp(t Re λ), Re λ = −0.25"][-1, 1] < 0.1


def test_the_picture_of_the_unit_circle_comes_back_from_the_far_side():
    (axes,) = drawn("5.1.2/all-times")
    for line in axes.lines:
        distance = torch.as_tensor(line.get_ydata())
        assert distance.max() == pytest.approx(2, abs=1e-2)
        assert distance[-1] < 0.05


def test_the_picture_of_the_basin_has_the_level_inside_and_the_lost_start_outside():
    (axes,) = drawn("5.1.2/neighbourhood")
    filled, level = (c for c in axes.collections if hasattr(c, "levels"))
    (basin,) = [path for path in filled.get_paths() if len(path)]
    (ellipse,) = [path for path in level.get_paths() if len(path)]
    assert basin.contains_points(ellipse.vertices).all()
    assert basin.contains_point((2.0, 0.0))
    assert not basin.contains_point((2.2, 0.0))
    assert not basin.contains_point((0.0, 2.5))
    assert basin.contains_point((1.0, 2.5)), "x₁ to the right, x₂ upwards"
