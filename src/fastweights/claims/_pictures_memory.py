"""Pictures of the claims about memories: each computes what it shows, and draws theory beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastweights import memories
from fastweights.claims._trials_memory import (
    bit_errors,
    correlated_inputs,
    crosstalk,
    final_overlaps,
    forgetting_noise,
    normal,
    seeded,
    signs,
)
from fastweights.memories.base import Kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's palette, told apart by colour-blind readers.
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.45"


def draw_forgetting(figure: Figure) -> None:
    """Signal-to-noise ratio of what a decaying memory recalls, by the age of the item."""
    decay, units, items, shown = 0.95, 100, 150, 61
    axes = figure.subplots()
    ages = torch.arange(items, dtype=torch.float64)
    drawn: tuple[tuple[Kind, str], ...] = (("heteroassociative", BLUE), ("autoassociative", VERMILION))
    for kind, colour in drawn:
        noise = forgetting_noise(decay, units, items, kind, trials=50).mean(dim=0)
        measured = decay ** (2 * ages) / noise
        theory = [memories.signal_to_noise(decay, units, age, items=items, kind=kind) for age in range(shown)]
        axes.plot(range(shown), theory, color=colour, label=f"{kind}, theory")
        axes.plot(ages[:shown:3], measured[:shown:3], "o", color=colour, markersize=4, label="measured, 50 trials")
    axes.axhline(1, color=GREY, linestyle="--", linewidth=1)
    axes.axvline(memories.window(decay), color=GREY, linestyle=":", linewidth=1.5, label="window 1/(1 − λ²)")
    axes.set(
        yscale="log",
        xlabel="age a of the item (steps)",
        ylabel="signal-to-noise ratio",
        title=f"A ← λA + ηhhᵀ forgets: λ = {decay}, N = {units}",
    )
    axes.legend(frameon=False)


def draw_crosstalk(figure: Figure) -> None:
    """What a linear associator adds to a recalled value, and how often that turns a sign, by its load."""
    units = 401
    counts = [1 + 20 * step for step in range(1, 21)]
    loads = [memories.load(count, units) for count in counts]
    left, right = figure.subplots(1, 2)
    measured = [crosstalk(count, units, 2).mean().item() for count in counts]
    left.plot(loads, [memories.crosstalk_variance(count, units) for count in counts], color=GREY, label="(s − 1)/N")
    left.plot(loads, measured, "o", color=BLUE, markersize=4, label=f"measured, N = {units}")
    left.set(xlabel="load q = s/N", ylabel="mean squared crosstalk", title="Crosstalk of random keys")
    wrong = [bit_errors(count, units, 4).mean().item() for count in counts]
    right.plot(loads, [memories.bit_error(count, units) for count in counts], color=GREY, label="½ erfc √(N/2(s − 1))")
    right.plot(loads, wrong, "o", color=VERMILION, markersize=4, label=f"measured, N = {units}")
    right.set(xlabel="load q = s/N", ylabel="fraction of wrong signs", title="Errors of recall")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)


def draw_hebb_divergence(figure: Figure) -> None:
    """The length of one unit's weights under plain Hebbian learning and under Oja's rule, with both closed forms."""
    inputs, weights = correlated_inputs(), 0.05 * normal(1, 3, seed=1)
    C = memories.learning.correlation(inputs)
    duration, steps = 8.0, 400
    times = torch.linspace(0, duration, steps + 1, dtype=torch.float64)
    axes = figure.subplots()
    for name, rule, flow, colour in (
        ("Hebb, dw/dt = C w", memories.hebb, memories.hebb_flow, VERMILION),
        ("Oja, dw/dt = C w − (wᵀC w) w", memories.oja, memories.oja_flow, BLUE),
    ):
        path = memories.integrate(rule, weights, inputs, duration=duration, steps=steps).flatten(1).norm(dim=1)
        closed = [flow(weights, C, time.item()).norm().item() for time in times[::20]]
        axes.plot(times, path, color=colour, label=f"{name}, integrated")
        axes.plot(times[::20], closed, "o", color=colour, markersize=4, label="closed form")
    axes.axhline(1, color=GREY, linestyle="--", linewidth=1)
    axes.set(yscale="log", xlabel="time t = α · steps", ylabel="‖w(t)‖", title="Hebbian learning needs a constraint")
    axes.legend(frameon=False)


def draw_hopfield_recall(figure: Figure) -> None:
    """A stored picture, a damaged copy of it and what is recalled, and the energy on the way down."""
    side, items = 20, 20
    x = torch.linspace(-1, 1, side)
    radius = (x[:, None] ** 2 + x**2).sqrt()
    ring = torch.where((radius > 0.45) & (radius < 0.85), 1.0, -1.0).flatten()[None].double()
    network = memories.HopfieldNetwork().store(torch.cat([ring, signs(items - 1, side**2)]))
    probe = memories.flip(ring, 0.3, generator=seeded(1))
    run = network.relax(probe, generator=seeded(2))
    grid = figure.add_gridspec(2, 3)
    for column, (name, state) in enumerate((("stored", ring), ("30 % flipped", probe), ("recalled", run.state))):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(state.view(side, side).numpy(), cmap="gray_r", vmin=-1, vmax=1)
        axes.set(title=name, xticks=[], yticks=[])
    axes = figure.add_subplot(grid[1, :])
    axes.plot(run.energy[:, 0], color=BLUE, label="E = −½ xᵀW x in recall")
    axes.axhline(network.energy(ring).item(), color=GREY, linestyle="--", label="energy of the stored picture")
    axes.set(xlabel="updates of one unit", ylabel="energy E", title=f"{items} patterns, N = {side**2} units")
    axes.legend(frameon=False)


def draw_hopfield_capacity(figure: Figure) -> None:
    """Overlap of the state at rest with the stored pattern it started from, by the load, against the AGS theory."""
    units = 1000
    critical = memories.hopfield_theory.critical_point()
    curve = torch.linspace(0.02, critical.load, 200, dtype=torch.float64)
    loads = [0.04 + 0.02 * step for step in range(8)]
    axes = figure.subplots()
    theory = [memories.hopfield_theory.retrieval_overlap(load) for load in curve.tolist()[:-1]] + [critical.overlap]
    axes.plot(curve, theory, color=GREY, label="Amit, Gutfreund & Sompolinsky (1985)")
    axes.plot([critical.load, 0.19], [0, 0], color=GREY)
    measured = [final_overlaps(load, units, 30).mean().item() for load in loads]
    axes.plot(loads, measured, "o", color=VERMILION, markersize=5, label=f"measured, N = {units}")
    axes.axvline(critical.load, color=BLUE, linestyle=":", label=f"α_c = {critical.load:.4f}")
    axes.set(
        xlabel="load α = P/N",
        ylabel="overlap m with the stored pattern",
        title="Capacity of the Hopfield network with Hebb's rule",
    )
    axes.legend(frameon=False, loc="lower left")
