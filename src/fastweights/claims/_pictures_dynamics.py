"""Pictures of the claims about feedback and dynamic systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastweights import dynamics
from fastweights.dynamics import feedback, systems

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN, _SKY = "#0072B2", "#D55E00", "#009E73", "#CFE6F4"


def draw_regimes(figure: Figure) -> None:
    """Responses y(n) of the loop to an impulse and to a unit step, one panel for each regime of w."""
    figure.set_size_inches(7.2, 4.6)
    steps = 16
    impulse = torch.zeros(1, steps, dtype=torch.float64)
    impulse[0, 0] = 1
    inputs = (
        ("impulse x(0) = 1", impulse, feedback.impulse_response, _BLUE),
        ("step x(n) = 1", torch.ones_like(impulse), feedback.step_response, _ORANGE),
    )
    panels = figure.subplots(2, 3, sharex=True).flat
    for axes, weight in zip(panels, (0.8, 1.0, 1.2, -0.8, -1.0, -1.2), strict=True):
        axes.axhline(0, color="0.8", linewidth=0.8)
        for name, x, theory, colour in inputs:
            y = feedback.simulate(torch.tensor([weight], dtype=torch.float64), x)[0]
            axes.plot(range(steps), [theory(weight, n) for n in range(steps)], color=colour, linewidth=0.8)
            axes.plot(range(steps), y, "o", color=colour, markersize=3, label=name)
        axes.set_title(f"w = {weight:g}\n".replace("-", "−") + feedback.regime(weight), fontsize=8)
    handles, names = panels[0].get_legend_handles_labels()
    panels[1].legend(handles, names, frameon=False, fontsize=7, handletextpad=0)
    figure.supxlabel("n")
    figure.supylabel("y(n); lines: closed forms", fontsize=10)


def draw_cubic_centre(figure: Figure) -> None:
    """Three systems with the same Jacobian at 0, one start, three fates."""
    figure.set_size_inches(5.6, 4.2)
    axes = figure.subplots()
    for cubic, colour, label in ((-1.0, _BLUE, "ṙ = −r³"), (0.0, "0.6", "ṙ = 0"), (1.0, _ORANGE, "ṙ = +r³")):
        step = dynamics.runge_kutta_4(systems.cubic_centre(cubic), 0.02)
        path = dynamics.trajectory(step, torch.tensor([[0.2, 0.0]], dtype=torch.float64), 550)[:, 0]
        axes.plot(path[:, 0], path[:, 1], color=colour, label=label)
    axes.plot(0.2, 0, "ko", markersize=4, label="start")
    axes.set(xlabel="x₁", ylabel="x₂", title="Rotations with the eigenvalues ±i at 0, t ≤ 11", aspect="equal")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def draw_markus_yamabe(figure: Figure) -> None:
    """The growing solution beside what the eigenvalues promise."""
    figure.set_size_inches(5.4, 3.6)
    axes = figure.subplots()
    times = torch.linspace(0, 10, 401, dtype=torch.float64)
    dt = float(times[1])
    path = [torch.tensor([-1.0, 0.0], dtype=torch.float64)]
    for t in times[:-1].tolist():
        path.append(torch.linalg.matrix_exp(dt * systems.markus_yamabe(t + dt / 2)) @ path[-1])
    real = float(torch.linalg.eigvals(systems.markus_yamabe(0.0)).real.max())
    axes.semilogy(times[::20], torch.stack(path)[::20].norm(dim=1), "o", color=_ORANGE, markersize=4, label="‖x(t)‖")
    axes.semilogy(times, (times / 2).exp(), color=_ORANGE, label="exp(t/2)")
    promised = f"exp(t Re λ), Re λ = {real:g}".replace("-", "−")
    axes.semilogy(times, (real * times).exp(), color=_BLUE, linestyle="--", label=promised)
    axes.set(xlabel="t", ylabel="‖x(t)‖ / ‖x(0)‖", title="dx/dt = A(t) x: grows, with Re λ < 0 at all times")
    axes.legend(frameon=False)


def draw_convergent_not_stable(figure: Figure) -> None:
    """Distance from (1, 0) over time, from starts ever nearer: each goes once round the circle before it comes back."""
    figure.set_size_inches(5.4, 3.6)
    axes = figure.subplots()
    angles = torch.tensor([0.2, 0.05, 0.02], dtype=torch.float64)
    starts = torch.stack((angles.cos(), angles.sin()), dim=1)
    path = dynamics.trajectory(dynamics.runge_kutta_4(systems.unit_circle, 0.25), starts, 1_200)
    distances = (path - torch.tensor([1.0, 0.0], dtype=torch.float64)).norm(dim=2)
    times = 0.25 * torch.arange(len(path))
    for i, colour in enumerate((_BLUE, _GREEN, _ORANGE)):
        axes.plot(times, distances[:, i], color=colour)
        peak = float(times[distances[:, i].argmax()])
        axes.text(peak + 6, 1.85, f"from {float(distances[0, i]):.2g}", color=colour)
    axes.set(xlabel="t", ylabel="distance from (1, 0)", title="θ̇ = sin²(θ/2): convergent, not stable")


def draw_basin(figure: Figure) -> None:
    """Phase portrait of the reversed Van der Pol oscillator: its basin, and the level set that certifies a part."""
    figure.set_size_inches(5.4, 5.8)
    axes = figure.subplots()
    field, lower, upper, resolution = systems.reversed_van_der_pol, (-3.0, -3.0), (3.0, 3.0), 121
    starts = dynamics.grid(lower, upper, resolution)
    origin = torch.zeros(1, 2, dtype=torch.float64)
    ends = dynamics.basins(dynamics.runge_kutta_4(field, 0.1), origin, starts, steps=300, tolerance=0.1)
    x, y, u, v = dynamics.vector_field(field, lower, upper, resolution)
    # The grid runs along x₂ first; contour takes x₁ along the columns.
    inside = (ends == 0).reshape(resolution, resolution).T.double()
    axes.contourf(x, y, inside, levels=[0.5, 1.5], colors=[_SKY])
    axes.streamplot(x.numpy(), y.numpy(), u.numpy(), v.numpy(), color="0.6", linewidth=0.6, density=1.1)
    axes.contour(x, y, 1.5 * x**2 - x * y[:, None] + y[:, None] ** 2, levels=[2.3045], colors=[_BLUE])
    axes.plot(0, 0, "ko", markersize=4)
    axes.fill([], [], color=_SKY, label="basin of 0")
    axes.plot([], [], color=_BLUE, label="V = 2.3045")
    axes.plot(2.2, 0, "X", color=_ORANGE, markersize=9, linestyle="", label="(2.2, 0): V̇ < 0, yet lost")
    axes.set(xlabel="x₁", ylabel="x₂", title="Reversed Van der Pol oscillator", aspect="equal")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, frameon=False)
