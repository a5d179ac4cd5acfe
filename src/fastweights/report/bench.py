"""A benchmark as a terminal table, as Markdown, as JSON values and as a figure."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from fastweights.bench.run import Measurement, Report
from fastweights.training.records import write_atomically

_COLUMNS = ("contender", "pass", "ms", "p20–p80", "× ours", "GFLOP/s", "peak %", "MiB")
_WORDS = ("contender", "pass")
_PASSES = {"forward": "fwd", "forward+backward": "fwd+bwd"}
_OURS = ("fast weights, cpu", "FastWeightRNN", "training step, cpu")


def terminal_tables(report: Report) -> list[Table]:
    """For rich to print: one table for each size."""
    tables = []
    for point, group in _by_point(report).items():
        table = Table(title=point, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
        for column in _COLUMNS:
            table.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=True)
        for measurement in group:
            table.add_row(*_cells(measurement, group))
        tables.append(table)
    return tables


def markdown_table(report: Report) -> str:
    """For a README or a page of documentation: one table for each size, without what was not run."""
    parts = []
    for point, group in _by_point(report).items():
        rules = ["---" if column in _WORDS else "---:" for column in _COLUMNS]
        lines = [_COLUMNS, rules, *(_cells(m, group) for m in group if m.skipped is None)]
        parts.append(f"**{point}**\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines))
    return "\n".join(parts)


def values(report: Report) -> dict[str, Any]:
    """For JSON."""
    return dataclasses.asdict(report)


def summary(report: Report) -> str:
    """The gate, the machine, and what everything else takes relative to the compiled core at each size."""
    worst = max(check.error for check in report.gate)
    environment = report.environment
    lines = [
        f"gate: {len(report.gate)} checks against the float64 reference passed, worst relative error {worst:.1e}",
        f"{environment['processor']}, {environment['system']}, torch {environment['torch']}, "
        f"SIMD {environment['simd']}",
        *(f"measured multiply-add peak on {n} thread(s): {peak:.0f} GFLOP/s" for n, peak in report.fma_gflops.items()),
    ]
    for (scope, point), group in _groups(report).items():
        relative = {m.contender: _relative(m, group) for m in group if m.contender not in _OURS}
        ratios = [f"{contender} {ratio}×" for contender, ratio in relative.items() if ratio]
        if ratios:
            lines.append(f"{point}, {scope}, forward and backward, relative to ours: {', '.join(ratios)}")
    return "\n".join(lines)


def save(report: Report, folder: Path) -> list[Path]:
    """Write `bench.json`, `bench.md`, and the figure of forward+backward times as SVG and PNG; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "bench.json", folder / "bench.md", folder / "bench.svg", folder / "bench.png"]
    write_atomically(paths[0], json.dumps(values(report), indent=1) + "\n")
    write_atomically(paths[1], markdown_table(report))
    figure = _figure(report)
    for path in paths[2:]:
        figure.savefig(path, dpi=110)
    return paths


def _point(m: Measurement) -> str:
    return f"R = {m.hidden_size}, T = {m.steps}, B = {m.batch}, {m.threads} thread(s)"


def _by_point(report: Report) -> dict[str, list[Measurement]]:
    groups: dict[str, list[Measurement]] = {}
    for m in report.measurements:
        groups.setdefault(_point(m), []).append(m)
    return groups


def _groups(report: Report) -> dict[tuple[str, str], list[Measurement]]:
    """Forward+backward measurements by scope and size."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for m in report.measurements:
        if m.which == "forward+backward":
            groups.setdefault((m.scope, _point(m)), []).append(m)
    return groups


def _figure(report: Report) -> Figure:
    """One panel for each scope and size, one bar for each contender."""
    groups = {key: [m for m in group if m.seconds] for key, group in _groups(report).items()}
    groups = {key: group for key, group in groups.items() if group}
    heights = [0.6 + 0.22 * len(group) for group in groups.values()]
    figure = Figure(figsize=(7.2, sum(heights) + 0.4), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, ((scope, point), group) in zip(panels, groups.items(), strict=True):
        colours = ["#D55E00" if m.contender in _OURS else "0.65" for m in group]
        bars = axes.barh([m.contender for m in group], [1e3 * (m.seconds or 0) for m in group], color=colours)
        axes.bar_label(bars, fmt="%.3g", fontsize=7, padding=2)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_title(f"{scope}: {point}", fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.15)
    panels[-1].set_xlabel("ms, forward and backward")
    return figure


def _cells(m: Measurement, group: list[Measurement]) -> tuple[str, ...]:
    """A row of the table; `group` holds all measurements at the same size."""
    if m.seconds is None or m.p20 is None or m.p80 is None:
        return m.contender, _PASSES[m.which], "–", m.skipped or "", "", "", "", ""
    return (
        m.contender,
        _PASSES[m.which],
        _milliseconds(m.seconds),
        f"{_milliseconds(m.p20)}–{_milliseconds(m.p80)}",
        _relative(m, group),
        "" if m.gflops is None else f"{m.gflops:.1f}",
        "" if m.peak_fraction is None else f"{100 * m.peak_fraction:.0f}",
        "" if m.memory is None else f"{m.memory / 2**20:.0f}",
    )


def _relative(m: Measurement, group: list[Measurement]) -> str:
    """How often the fast weights of the same scope, on the compiled core, run meanwhile; empty if they were not run."""
    ours = [o for o in group if o.contender in _OURS and (o.scope, o.which) == (m.scope, m.which) and o.seconds]
    if not ours or m.seconds is None or ours[0].seconds is None:
        return ""
    return f"{m.seconds / ours[0].seconds:.3g}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"
