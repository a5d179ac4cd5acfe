"""A benchmark as a terminal table, as Markdown, as JSON values and as a figure."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from fastweights.bench.run import Measurement, Report

_COLUMNS = ("contender", "R", "T", "B", "thr", "pass", "ms", "p20–p80", "GFLOP/s", "peak %", "MiB")
_WORDS = ("contender", "pass")
_PASSES = {"forward": "fwd", "forward+backward": "fwd+bwd"}


def terminal_table(report: Report) -> Table:
    """For rich to print."""
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=True)
    for measurement in report.measurements:
        table.add_row(*_cells(measurement))
    return table


def markdown_table(report: Report) -> str:
    """For a README or a page of documentation."""
    rules = ["---" if column in _WORDS else "---:" for column in _COLUMNS]
    lines = [_COLUMNS, rules, *(_cells(m) for m in report.measurements if m.skipped is None)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def values(report: Report) -> dict[str, Any]:
    """For JSON."""
    return dataclasses.asdict(report)


def save_figure(report: Report, stem: Path) -> list[Path]:
    """Draw forward+backward time of every contender at every size, one panel a size; writes SVG and PNG."""
    measured = [m for m in report.measurements if m.seconds is not None and m.which == "forward+backward"]
    points = list(dict.fromkeys((m.hidden_size, m.steps, m.batch, m.threads) for m in measured))
    figure = Figure(figsize=(7.2, 2.4 * len(points)), layout="constrained")
    panels = figure.subplots(len(points), 1, squeeze=False)[:, 0]
    for axes, point in zip(panels, points, strict=True):
        bars = [m for m in measured if (m.hidden_size, m.steps, m.batch, m.threads) == point]
        axes.barh(
            [f"{m.contender} ({m.scope})" for m in bars],
            [1e3 * (m.seconds or 0) for m in bars],
            color=["#0072B2" if m.scope == "recurrence" else "#D55E00" for m in bars],
        )
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_title("R = {}, T = {}, B = {}, {} thread(s)".format(*point), fontsize=9)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("ms for forward and backward")
    paths = [stem.with_suffix(suffix) for suffix in (".svg", ".png")]
    for path in paths:
        figure.savefig(path, dpi=150)
    return paths


def _cells(m: Measurement) -> tuple[str, ...]:
    sizes = (str(m.hidden_size), str(m.steps), str(m.batch), str(m.threads), _PASSES[m.which])
    if m.seconds is None or m.p20 is None or m.p80 is None:
        return (m.contender, *sizes, "–", m.skipped or "", "", "", "")
    return (
        m.contender,
        *sizes,
        _milliseconds(m.seconds),
        f"{_milliseconds(m.p20)}–{_milliseconds(m.p80)}",
        "" if m.gflops is None else f"{m.gflops:.1f}",
        "" if m.peak_fraction is None else f"{100 * m.peak_fraction:.0f}",
        "" if m.memory is None else f"{m.memory / 2**20:.0f}",
    )


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"
