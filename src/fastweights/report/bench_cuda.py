"""A benchmark on a GPU: the targets, as Markdown with a table for each size, as JSON values and as a figure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from rich.box import SIMPLE_HEAD
from rich.table import Table

from fastweights.bench.cuda.contenders import OUR_LAYER, OURS
from fastweights.bench.cuda.points import HIDDEN_SIZES, TARGET_BATCH, TARGET_STEPS, Point
from fastweights.bench.cuda.run import Measurement, Report
from fastweights.bench.cuda.targets import Outcome, outcomes
from fastweights.bench.points import Pass
from fastweights.report.figures import save_figure
from fastweights.training.records import write_atomically

_COLUMNS = (
    "contender",
    *("forward", "p20–p80", "× ours"),
    *("forward+backward", "p20–p80", "× ours"),
    *("difference", "GFLOP/s", "float32 %", "copy %", "MiB"),
)
_BOTH: Pass = "forward+backward"
_NOTHING = "–"
# Okabe & Ito's palette; what is ours stands out, and a family of contenders shares a colour.
_COLOURS = (
    (("ours", "our layer"), "#D55E00"),
    (("eager",), "#0072B2"),
    (("explicit A, torch", "attention, torch"), "#E69F00"),
    (("cuDNN LSTM",), "#009E73"),
    (("cuDNN GRU",), "#CC79A7"),
)
_SHOWN = TARGET_STEPS, TARGET_BATCH, 1
_DASHES = ("-", "--", ":", "-.")
_EXPLANATION = """\
Times are µs per step of calls from Python: medians, with the 20th and 80th percentile, between device events around
each call, after warm-up, with the L2 cache flushed before each. At small sizes most of it is Python and launches; a
CUDA graph leaves them out. *Difference* is forward+backward less forward: a backward pass, and what forward keeps for
it. Everything is float32; cuDNN may round factors to TF32, torch's default, only where a name says so. *Ours* and the
eager forms are given the input product. The layers compute it, from an input as wide as they are; their *× ours* is
relative to our layer. GFLOP/s counts the recurrence's arithmetic in its cheaper form at each step; *float32 %* is
what that is of the measured float32 ceiling, *copy %* what the least traffic (z, out and their gradients) is of the
measured copying bandwidth; all three are those of forward+backward. MiB is what forward+backward allocates at most; a
CUDA graph has set it aside before.
"""


def terminal_targets(report: Report) -> Table:
    """For rich to print: what was aimed at and what is."""
    columns, *rows = _target_lines(report)
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "target" else "right", no_wrap=column != "target")
    for row in rows:
        table.add_row(*row)
    return table


def markdown(report: Report) -> str:
    """A page: what was measured on, the targets, and a table for each size with what was not run below it."""
    points = _by_point(report.measurements)
    measured = {point: group for point, group in points.items() if any(m.seconds for m in group)}
    tables = [_point_table(point, group) for point, group in measured.items()]
    return "\n".join([f"{summary(report)}\n", _markdown_table(_target_lines(report), left=1), _EXPLANATION, *tables])


def summary(report: Report) -> str:
    """The gate, the machine and its ceilings, how many targets are reached, and how much was measured."""
    worst = max(check.error for check in report.gate)
    environment, most = report.environment, report.ceilings
    found = [each.reached(size) for each in outcomes(report.measurements) for size in each.measured]
    points = _by_point(report.measurements).values()
    done = sum(any(m.seconds for m in group) for group in points)
    versions = [f"{name} {environment[name]}" for name in ("torch", "cuda", "cudnn", "triton") if name in environment]
    return (
        f"{report.device}, {', '.join(versions)}; ours is the backend {report.ours}. "
        f"{len(report.gate)} checks against the float64 reference passed, worst relative error {worst:.1e}. "
        f"Measured ceilings: {most.float32_gflops / 1e3:.1f} TFLOP/s in float32 without TF32, "
        f"{most.copy_gigabytes / 1e3:.2f} TB/s copying. "
        f"{done} of {len(points)} sizes were measured in {report.seconds:.0f} s; "
        f"{found.count(True)} targets reached, {found.count(False)} not, {found.count(None)} without a number."
    )


def values(report: Report) -> dict[str, Any]:
    """For JSON; a measurement holds what it has."""
    whole = dataclasses.asdict(report)
    whole["measurements"] = [
        {name: value for name, value in each.items() if value is not None} for each in whole["measurements"]
    ]
    return whole


def save_values(report: Report, folder: Path) -> Path:
    """Write `bench.json`, also while the rest is still being measured; returns its path."""
    path = folder / "bench.json"
    write_atomically(path, json.dumps(values(report), indent=1) + "\n")
    return path


def save(report: Report, folder: Path) -> list[Path]:
    """Write `bench.json`, `bench.md`, and the figure as SVG and PNG; returns the paths."""
    path = folder / "bench.md"
    write_atomically(path, markdown(report))
    figure = _figure(report)
    pictures = [save_figure(figure, folder / f"bench.{suffix}") for suffix in ("svg", "png")]
    return [save_values(report, folder), path, *pictures]


def _target_lines(report: Report) -> list[tuple[str, ...]]:
    """Columns, then a row for each target: the aim, and for each R what was measured, ✓ where that reaches it."""
    found = outcomes(report.measurements)
    sizes = sorted({size for outcome in found for size in outcome.measured})
    lines = [("target", "aim", *(f"R = {size}" for size in sizes))]
    for each in found:
        aim = f"{'≤' if each.at_most else '≥'} {each.aim:g} {each.unit}"
        lines.append((each.what, aim, *(_target_cell(each, size) for size in sizes)))
    return lines


def _target_cell(outcome: Outcome, size: int) -> str:
    if size not in outcome.measured:
        return ""
    value = outcome.measured[size]
    return _NOTHING if value is None else f"{value:.3g} {'✓' if outcome.reached(size) else '✗'}"


def _by_point(measurements: Sequence[Measurement]) -> dict[Point, list[Measurement]]:
    groups: dict[Point, list[Measurement]] = {}
    for m in measurements:
        groups.setdefault(m.point, []).append(m)
    return groups


def _point_table(point: Point, group: list[Measurement]) -> str:
    """One row for each contender that was measured; why the others were not, below."""
    by_name: dict[str, dict[Pass, Measurement]] = {}
    for m in group:
        by_name.setdefault(m.contender, {})[m.which] = m
    rows = [_row(name, passes, by_name) for name, passes in by_name.items() if any(m.seconds for m in passes.values())]
    return f"**{point}**\n\n{_markdown_table([_COLUMNS, *rows], left=1)}{_left_out(group)}"


def _left_out(group: list[Measurement]) -> str:
    """What was not measured at a size and why, as a paragraph; a contender without a pass is without both."""
    reasons: dict[str, dict[str, list[Pass]]] = {}
    for m in group:
        if m.skipped is not None:
            reasons.setdefault(m.skipped, {}).setdefault(m.contender, []).append(m.which)
    notes = []
    for reason, names in reasons.items():
        who = [name if len(passes) > 1 else f"{name} ({passes[0]})" for name, passes in names.items()]
        notes.append(f"{', '.join(who)}: {reason}")
    return f"\nNot measured: {'; '.join(notes)}.\n" if notes else ""


def _row(name: str, passes: dict[Pass, Measurement], others: dict[str, dict[Pass, Measurement]]) -> tuple[str, ...]:
    forward, both = passes["forward"], passes[_BOTH]
    own = others.get(OUR_LAYER if both.scope == "layer" else OURS, {})
    return (
        name,
        *_times(forward, own.get("forward")),
        *_times(both, own.get(_BOTH)),
        f"{_per_step(both.seconds - forward.seconds, both)}" if both.seconds and forward.seconds else _NOTHING,
        "" if both.gflops is None else f"{both.gflops:,.0f}",
        "" if both.float32_fraction is None else f"{100 * both.float32_fraction:.1f}",
        "" if both.copy_fraction is None else f"{100 * both.copy_fraction:.1f}",
        "" if both.memory is None else f"{both.memory / 2**20:,.0f}",
    )


def _times(m: Measurement, own: Measurement | None) -> tuple[str, str, str]:
    """µs per step, their spread, and how often ours runs meanwhile."""
    if m.seconds is None or m.p20 is None or m.p80 is None:
        return _NOTHING, "", ""
    relative = "" if own is None or own.seconds is None else f"{m.seconds / own.seconds:.3g}"
    return _per_step(m.seconds, m), f"{_per_step(m.p20, m)}–{_per_step(m.p80, m)}", relative


def _per_step(seconds: float, m: Measurement) -> str:
    return f"{1e6 * seconds / m.steps:.3g}"


def _markdown_table(lines: Sequence[tuple[str, ...]], *, left: int) -> str:
    """Lines, the columns first, of which the first `left` hold words."""
    rules = tuple("---" if place < left else "---:" for place in range(len(lines[0])))
    return "".join("| " + " | ".join(line) + " |\n" for line in (lines[0], rules, *lines[1:]))


def _figure(report: Report) -> Figure:
    """µs per step against R where the targets are set, or else at the T, B and P with the most numbers."""
    counts: dict[tuple[int, int, int], int] = {}
    for m in report.measurements:
        key = m.steps, m.batch, m.members
        counts[key] = counts.get(key, 0) + (m.seconds is not None)
    shown = max(counts, key=lambda key: (key == _SHOWN and counts[key] > 0, counts[key]))
    chosen = [m for m in report.measurements if (m.steps, m.batch, m.members) == shown and m.seconds]
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, which in zip(panels, ("forward", _BOTH), strict=True):
        _draw_lines(axes, [m for m in chosen if m.which == which])
        axes.set_title(which, fontsize=10)
    panels[0].set_ylabel("µs per step")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(f"{report.device}: T = {shown[0]}, B = {shown[1]}, P = {shown[2]}, float32", fontsize=10)
    return figure


def _draw_lines(axes: Axes, measurements: list[Measurement]) -> None:
    names = list(dict.fromkeys(m.contender for m in measurements))
    used: dict[str, int] = {}
    for name in names:
        line = sorted((m.hidden_size, 1e6 * (m.seconds or 0) / m.steps) for m in measurements if m.contender == name)
        colour = next((c for prefixes, c in _COLOURS if name.startswith(prefixes)), "0.5")
        style = _DASHES[used.setdefault(colour, 0) % len(_DASHES)]
        used[colour] += 1
        axes.plot(*zip(*line, strict=True), style, color=colour, marker="o", markersize=3, linewidth=1.5, label=name)
    axes.set(xscale="log", yscale="log", xlabel="R")
    axes.set_xticks(HIDDEN_SIZES, map(str, HIDDEN_SIZES), fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
