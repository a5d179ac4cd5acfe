"""What was tried before the reported runs, and what validation chose, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastweights.experiments.base import result_of
from fastweights.report.names import label, value_text
from fastweights.training.config import RunConfig
from fastweights.training.manifest import settings, varied
from fastweights.training.records import RunDirectory


def markdown_table(screened: Sequence[RunDirectory], runs: Sequence[RunDirectory]) -> str:
    """A line for each screening run, marked if the reported `runs` have its settings.

    Settings are shown if the candidates of some model and size differ in them, and the updates in any case.
    """
    models: dict[str, dict[int, list[RunDirectory]]] = {}
    for run in screened:
        config = run.config()
        models.setdefault(config.cell, {}).setdefault(config.hidden_size, []).append(run)
    rows = [sizes[size] for sizes in models.values() for size in sorted(sizes)]

    def shown(config: RunConfig) -> tuple[Any, ...]:
        own = settings(config)
        return config.cell, config.hidden_size, *(own.get(name) for name in names)

    differing = {name for row in rows for name in varied([run.config() for run in row])} - {"updates"}
    names = [name for name in varied([run.config() for run in screened]) if name in differing]
    reported = {shown(run.config()) for run in runs}
    head = ["model", "R", *map(label, names), "updates", "validation error %", "NLL", "reported"]
    lines = [head, ["---", *["---:"] * (len(head) - 2), "---"]]
    for row in rows:
        # A setting may be None in some runs, which cannot be compared with a number.
        for run in sorted(row, key=lambda run: [(value is not None, value) for value in shown(run.config())]):
            config, result = run.config(), result_of(run)
            cell, size, *values = shown(config)
            finished = result["status"] == "finished"
            lines.append(
                [
                    *(label(cell), str(size), *map(value_text, values), f"{config.updates:,}"),
                    f"{100 * result['validation_error']:.2f}" if finished else result["status"],
                    f"{result['validation_nll']:.4f}" if finished else "–",
                    "✓" if shown(config) in reported else "",
                ]
            )
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
