"""Figures as SVG and PNG; of the experiments, learning curves."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastweights.experiments._pictures import LearningCurves
from fastweights.report.names import label

# Okabe & Ito's palette, told apart by colour-blind readers; one fixed colour a model, whichever models are drawn.
_COLOURS = {"fast_weights": "#D55E00", "lstm": "#0072B2", "associative_lstm": "#009E73", "irnn": "#CC79A7"}
_OTHERS = ("#E69F00", "#56B4E9", "#000000")


def save_learning_curves(curves: LearningCurves, stem: Path) -> list[Path]:
    """Draw test NLL against updates; writes `stem`.svg and `stem`.png and returns their paths."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(curves.floor, color="0.45", linestyle="--", linewidth=1)
    axes.annotate(
        f"no binding learned: {curves.floor:.3f}",
        (1, curves.floor),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -12),
        textcoords="offset points",
        horizontalalignment="right",
        color="0.35",
        fontsize=9,
    )
    others = iter(_OTHERS * len(curves.curves))
    for cell in curves.curves:
        _draw_cell(axes, cell, curves, _COLOURS.get(cell) or next(others))
    axes.set(xlabel="updates", ylabel="test NLL (nats)", title=curves.title)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="best")
    return [save_figure(figure, stem.with_suffix(suffix)) for suffix in (".svg", ".png")]


def _draw_cell(axes: Axes, cell: str, curves: LearningCurves, colour: str) -> None:
    """One line for each seed, a cross where a run diverged, and the published end of the curve in the legend."""
    published = curves.published[cell]
    name = label(cell) if published is None else f"{label(cell)} (published, in the end: {published:g})"
    for index, curve in enumerate(curves.curves[cell]):
        updates, nll = np.array(curve.updates), np.array(curve.nll, dtype=float)
        axes.plot(updates, nll, color=colour, linewidth=1.6, label=name if index == 0 else None)
        if curve.diverged and np.isfinite(nll).any():
            last = np.flatnonzero(np.isfinite(nll))[-1]
            axes.plot(updates[last], nll[last], "x", color=colour, markersize=9)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write an SVG or PNG, by the suffix of `path`; equal figures give equal files."""
    # No date, and ids that do not change from one time to the next.
    with mpl.rc_context({"svg.hashsalt": "fastweights", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})
    return path
