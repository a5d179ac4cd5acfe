"""Figures as SVG and PNG: learning curves, heat maps, strips of seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median_low

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from fastweights.experiments._pictures import Band, Curve, HeatMap, LearningCurves, Picture, Strips, band
from fastweights.report.names import label

# Okabe & Ito's palette, told apart by colour-blind readers; one fixed colour a model, whichever models are drawn.
_COLOURS = {"fast_weights": "#D55E00", "lstm": "#0072B2", "associative_lstm": "#009E73", "irnn": "#CC79A7"}
_OTHERS = ("#E69F00", "#56B4E9", "#000000")
_LONGEST_INSIDE = 50


def save_picture(picture: Picture, stem: Path) -> list[Path]:
    """Draw it; writes `stem`.svg and `stem`.png and returns their paths."""
    figure = figure_of(picture)
    # Names may hold dots, so no suffix is replaced.
    return [save_figure(figure, stem.with_name(stem.name + suffix)) for suffix in (".svg", ".png")]


def figure_of(picture: Picture) -> Figure:
    """Draw it."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(picture.title)
    if isinstance(picture, LearningCurves):
        _draw_learning_curves(figure, axes, picture)
    elif isinstance(picture, HeatMap):
        _draw_heat_map(figure, axes, picture)
    else:
        _draw_strips(axes, picture)
    return figure


def _draw_learning_curves(figure: Figure, axes: Axes, picture: LearningCurves) -> None:
    if picture.floor is not None:
        named = f"no binding learned: {picture.floor:.3f}"
        axes.axhline(picture.floor, color="0.45", linestyle="--", linewidth=1, label=named)
    free = [*_OTHERS, *(colour for name, colour in _COLOURS.items() if name not in picture.curves)]
    others = itertools.product(("-", ":", "-.", "--"), free)
    bands = {name: band(curves) for name, curves in picture.curves.items()}
    finite = [nll for each in bands.values() for nll in each.high if math.isfinite(nll)]
    top = 1.05 * max([picture.floor or 0.0, *finite]) or 1.0
    for name, curves in picture.curves.items():
        style, colour = ("-", _COLOURS[name]) if name in _COLOURS else next(others)
        published = picture.published.get(name)
        legend = label(name) if published is None else f"{label(name)} (published, in the end: {published:g})"
        _draw_runs(axes, curves, bands[name], (style, colour), legend, top)
    axes.set(xlabel="updates", ylabel=picture.value_name)
    axes.set_xlim(left=0)
    axes.set_ylim(0, top)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    _quiet(axes)
    entries = axes.get_legend_handles_labels()[1]
    if max(map(len, entries), default=0) <= _LONGEST_INSIDE:
        axes.legend(facecolor="white", edgecolor="none", framealpha=0.7, loc="best")  # lines and bands fade behind it
        return
    figure.set_figheight(figure.get_figheight() + 0.25 * len(entries))
    figure.legend(frameon=False, loc="outside lower left", fontsize=8)


def _draw_runs(
    axes: Axes, curves: Sequence[Curve], whole: Band, line: tuple[str, str], legend: str, top: float
) -> None:
    """A line, of the median if there are several seeds, and a band over all of them; a cross where one diverged."""
    style, colour = line
    low, middle, high = (np.minimum(edge, 2 * top) for edge in whole[1:])  # what is infinite leaves the picture
    axes.plot(whole.updates, middle, style, color=colour, linewidth=1.6, label=legend)
    if len(curves) > 1:
        axes.fill_between(whole.updates, low, high, color=colour, alpha=0.2, linewidth=0)
    for curve in curves:
        nll = np.array(curve.nll, dtype=float)
        if curve.diverged and np.isfinite(nll).any():
            last = np.flatnonzero(np.isfinite(nll))[-1]
            axes.plot(curve.updates[last], nll[last], "x", color=colour, markersize=9)


def _draw_heat_map(figure: Figure, axes: Axes, picture: HeatMap) -> None:
    values = np.array(picture.values, dtype=float)
    norm = Normalize(*(np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0.0, 1.0))
    cells = axes.imshow(values, norm=norm, cmap="viridis_r", aspect="auto", origin="lower")
    axes.set_xticks(range(len(picture.x)), map(label, picture.x))
    axes.set_yticks(range(len(picture.y)), map(label, picture.y))
    axes.set(xlabel=label(picture.x_name), ylabel=label(picture.y_name))
    figure.colorbar(cells, ax=axes, label=picture.value_name)
    for (row, column), value in np.ndenumerate(values):
        # The map is read in print too: dark cells carry light numbers.
        light = np.isfinite(value) and float(norm(value)) > 0.5
        text = f"{value:.3g}" if np.isfinite(value) else "–"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color="white" if light else "black")
    axes.spines[:].set_visible(False)


def _draw_strips(axes: Axes, picture: Strips) -> None:
    """A point for each run, a bar at the median, a diamond for what is published."""
    for place, (name, values) in enumerate(picture.groups.items()):
        colour = _COLOURS.get(name, "#0072B2")
        spread = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else np.zeros(len(values))
        axes.plot(spread + place, values, "o", color=colour, alpha=0.75, markersize=5)
        # In the median a run without a number counts as infinite.
        middle = median_low([*values, *[math.inf] * picture.without.get(name, 0)] or [math.inf])
        if math.isfinite(middle):
            axes.plot([place - 0.25, place + 0.25], [middle, middle], color=colour, linewidth=2)
        if (published := picture.published.get(name)) is not None:
            axes.plot(place, published, "D", color="black", fillstyle="none", markersize=7)
    names = [
        label(name) + (f"\n({picture.without[name]} without a number)" if picture.without.get(name) else "")
        for name in picture.groups
    ]
    crowded = len(names) > 4 or any(len(line) > 24 for name in names for line in name.splitlines())
    axes.set_xticks(range(len(names)), names, rotation=30 if crowded else 0, ha="right" if crowded else "center")
    axes.set_ylabel(picture.value_name)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(bottom=0)
    _quiet(axes)


def _quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write an SVG or PNG, by the suffix of `path`; equal figures give equal files."""
    # No date, and ids that do not change from one time to the next.
    with mpl.rc_context({"svg.hashsalt": "fastweights", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})
    return path
