"""Pictures of the claims about feedback and dynamic systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastweights import dynamics
from fastweights.dynamics import feedback, systems

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN, _PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"


def draw_regimes(figure: Figure) -> None:
    """Impulse responses y(n) of the loop, one panel for each regime of w."""
    figure.set_size_inches(7.2, 4.4)
    impulse = torch.zeros(1, 16, dtype=torch.float64)
    impulse[0, 0] = 1
    panels = figure.subplots(2, 3, sharex=True).flat
    for axes, weight in zip(panels, (0.8, 1.0, 1.2, -0.8, -1.0, -1.2), strict=True):
        y = feedback.simulate(torch.tensor([weight], dtype=torch.float64), impulse)[0]
        axes.axhline(0, color="0.8", linewidth=0.8)
        axes.plot(range(16), y, "o-", color=_BLUE if weight > 0 else _ORANGE, markersize=3, linewidth=1)
        axes.set_title(f"w = {weight:g}: {feedback.regime(weight)}", fontsize=8)
    figure.supxlabel("n")
    figure.supylabel("y(n) after x(0) = 1")


def draw_cubic_centre(figure: Figure) -> None:
    """Three systems with the same Jacobian at 0, one start, three fates."""
    figure.set_size_inches(4.8, 4.4)
    axes = figure.subplots()
    for cubic, colour in ((-1.0, _BLUE), (0.0, "0.6"), (1.0, _ORANGE)):
        step = dynamics.runge_kutta_4(systems.cubic_centre(cubic), 0.02)
        path = dynamics.trajectory(step, torch.tensor([[0.3, 0.0]], dtype=torch.float64), 260)[:, 0]
        axes.plot(path[:, 0], path[:, 1], color=colour, label=f"{cubic:+.0f} r² x" if cubic else "rotation alone")
    axes.plot(0.3, 0, "ko", markersize=4)
    axes.set(xlabel="x₁", ylabel="x₂", title="Equal eigenvalues ±i at 0", aspect="equal")
    axes.legend(frameon=False)


def draw_markus_yamabe(figure: Figure) -> None:
    """The growing solution beside what the eigenvalues promise."""
    figure.set_size_inches(5.4, 3.6)
    axes = figure.subplots()
    times = torch.linspace(0, 10, 400, dtype=torch.float64)
    solution = torch.exp(times / 2).unsqueeze(1) * torch.stack((-times.cos(), times.sin()), dim=1)
    real = float(torch.linalg.eigvals(systems.markus_yamabe(0.0)).real.max())
    axes.semilogy(times, solution.norm(dim=1), color=_ORANGE, label="‖x(t)‖ = e^{t/2}")
    axes.semilogy(times, (real * times).exp(), color=_BLUE, linestyle="--", label=f"e^{{t · Re λ}}, Re λ = {real:g}")
    axes.set(xlabel="t", ylabel="‖x(t)‖", title="Eigenvalues of A(t) on the left at all times")
    axes.legend(frameon=False)


def draw_convergent_not_stable(figure: Figure) -> None:
    """Distance from (1, 0) over time, from starts ever nearer: each goes once round the circle before it comes back."""
    figure.set_size_inches(5.4, 3.6)
    axes = figure.subplots()
    angles = torch.tensor([0.2, 0.05, 0.02], dtype=torch.float64)
    starts = torch.stack((angles.cos(), angles.sin()), dim=1)
    path = dynamics.trajectory(dynamics.runge_kutta_4(systems.unit_circle, 0.05), starts, 5_000)
    distances = (path - torch.tensor([1.0, 0.0], dtype=torch.float64)).norm(dim=2)
    times = 0.05 * torch.arange(len(path))
    for i, colour in enumerate((_BLUE, _GREEN, _ORANGE)):
        axes.plot(times, distances[:, i], color=colour, label=f"from {float(distances[0, i]):.2g} away")
    axes.set(xlabel="t", ylabel="distance from (1, 0)", title="θ̇ = sin²(θ/2): convergent, not stable")
    axes.legend(frameon=False)


def draw_basin(figure: Figure) -> None:
    """Phase portrait of the reversed Van der Pol oscillator: its basin, and the level set that certifies a part."""
    figure.set_size_inches(5.4, 4.8)
    axes = figure.subplots()
    side = 61
    starts = dynamics.grid((-3.0, -3.0), (3.0, 3.0), side)
    step = torch.func.vmap(dynamics.runge_kutta_4(systems.reversed_van_der_pol, 0.02))
    states = starts
    for _ in range(1_500):
        states = step(states).clamp(-1e3, 1e3)
    inside = (states.norm(dim=1) < 1e-2).reshape(side, side)
    x, y = starts[:, 0].reshape(side, side), starts[:, 1].reshape(side, side)
    axes.contourf(x, y, inside.double(), levels=[0.5, 1.5], colors=["#CFE6F4"])
    velocities = torch.func.vmap(systems.reversed_van_der_pol)(starts)
    vx, vy = velocities[:, 0].reshape(side, side), velocities[:, 1].reshape(side, side)
    across = 0 if float(x[0, 0]) != float(x[0, 1]) else 1
    if across == 0:
        axes.streamplot(x[0].numpy(), y[:, 0].numpy(), vx.numpy(), vy.numpy(), color="0.55", linewidth=0.6, density=1.1)
    else:
        axes.streamplot(
            x[:, 0].numpy(), y[0].numpy(), vx.T.numpy(), vy.T.numpy(), color="0.55", linewidth=0.6, density=1.1
        )
    level = 1.5 * x**2 - x * y + y**2
    axes.contour(x, y, level, levels=[2.3045], colors=[_ORANGE])
    axes.plot(0, 0, "ko", markersize=4)
    axes.plot(2.2, 0, "x", color=_PINK, markersize=8)
    axes.annotate("(2.2, 0): V̇ < 0, and lost", (2.2, 0), xytext=(0.3, -2.7), color=_PINK)
    axes.set(
        xlabel="x₁", ylabel="x₂", title="Reversed Van der Pol: basin (blue), {V < 2.3045} (orange)", aspect="equal"
    )
