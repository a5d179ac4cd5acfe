"""From finished runs to the rows of a table and the numbers of a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastweights.errors import RunError
from fastweights.experiments._pictures import Curve, Strips
from fastweights.experiments._statistics import (
    SUCCESS,
    Verdict,
    lower_median,
    standing_remark,
    until_success,
    verdict,
    wilson_interval,
)
from fastweights.experiments.base import Row, result_of
from fastweights.training.config import RunConfig
from fastweights.training.loop import build_task
from fastweights.training.records import RunDirectory


def grouped(
    runs: Sequence[RunDirectory], variant: Callable[[RunConfig], str] = lambda config: ""
) -> dict[tuple[str, int, str], list[RunDirectory]]:
    """The runs of each model, size and variant, in the order in which these first occur."""
    groups: dict[tuple[str, int, str], list[RunDirectory]] = {}
    for run in runs:
        config = run.config()
        groups.setdefault((config.cell, config.hidden_size, variant(config)), []).append(run)
    return groups


def grouped_rows(runs: Sequence[RunDirectory], variant: Callable[[RunConfig], str]) -> list[Row]:
    """A row for each model, size and variant."""
    return [row(group, variant=name) for (*_, name), group in grouped(runs, variant).items()]


def row(runs: Sequence[RunDirectory], *, variant: str = "", published: float | None = None) -> Row:
    """What the runs of one configuration show over their seeds, beside the `published` test error, a fraction."""
    results = [result_of(run) for run in runs]
    return row_from_results(results, [run.metrics() for run in runs], variant=variant, published=published)


def row_from_results(
    results: Sequence[dict[str, Any]],
    metrics: Sequence[list[dict[str, Any]]] = (),
    *,
    variant: str = "",
    published: float | None = None,
) -> Row:
    """A row from the runs' results, and from their evaluations where these belong to the row's task."""
    config = RunConfig.from_dict(results[0]["config"])
    # A run that diverged stays among the errors with what it had reached, and behind them all if it had reached
    # nothing; it is named in the row besides.
    tested = sorted((r for r in results if r["test_errors"] is not None), key=lambda r: r["test_errors"])
    position = (len(results) - 1) // 2
    middle = tested[position] if position < len(tested) else None
    error = middle["test_errors"] / middle["test_count"] if middle else None
    floor = build_task(config).no_binding_floor().error
    shown = middle or results[0]
    return Row(
        cell=config.cell,
        hidden_size=config.hidden_size,
        variant=variant,
        error=error,
        interval=wilson_interval(middle["test_errors"], middle["test_count"]) if middle else None,
        errors=tuple(r["test_errors"] / r["test_count"] for r in tested),
        successes=sum(r["status"] == "finished" and r["test_errors"] <= SUCCESS * r["test_count"] for r in tested),
        runs=len(results),
        published=published,
        verdict=None if published is None or middle is None else _verdict(published, results, middle["test_count"]),
        updates_to_success=_until_success(metrics, "step"),
        seconds_to_success=_until_success(metrics, "seconds"),
        nll=middle["test_nll"] if middle else None,
        updates=shown["updates"],
        seconds=shown["seconds"],
        backend=shown["backend"],
        parameters=shown.get("cell_parameters"),
        state_size=shown.get("state_size"),
        floor_remark=None if error is None else standing_remark(error, floor),
        diverged=tuple(f"seed {r['config']['seed']}: {r['reason']}" for r in results if r["status"] == "diverged"),
        remark=None,
        settings={
            "learning_rate": config.learning_rate,
            "weight_decay": config.weight_decay,
            "schedule": config.schedule,
            **_early(config),
            "cell_options": config.cell_options,
            "task_options": config.task_options,
        },
    )


def _early(config: RunConfig) -> dict[str, int | None]:
    if config.early_updates == 0:
        return {}
    return {"early_updates": config.early_updates, "early_train_size": config.early_train_size}


def curve(run: RunDirectory) -> Curve:
    """The recorded test NLL of a run. Raises RunError if some of it is lost."""
    metrics, result = run.metrics(), result_of(run)
    if result["status"] == "finished" and (not metrics or metrics[-1]["step"] != result["updates"]):
        raise RunError(f"{run.path / 'metrics.jsonl'} is incomplete; delete {run.path} and run again")
    updates, nll = tuple(m["step"] for m in metrics), tuple(m["test_nll"] for m in metrics)
    return Curve(run.config().seed, updates, nll, diverged=result["status"] == "diverged")


def strips(title: str, named: Mapping[str, Row]) -> Strips:
    """The test errors of every row's seeds, the rows by the names of their strips."""
    return Strips(
        title,
        "test error, %",
        {name: tuple(100 * error for error in row.errors) for name, row in named.items()},
        without={name: row.runs - len(row.errors) for name, row in named.items()},
    )


def _verdict(published: float, results: Sequence[dict[str, Any]], total: int) -> Verdict | None:
    """None if a run diverged before its first evaluation: its seed has no error, and the range would be anything."""
    errors = [r["test_errors"] for r in results]
    return None if None in errors else verdict(published, errors, total)


def _until_success(metrics: Sequence[list[dict[str, Any]]], key: str) -> float | None:
    median = lower_median([until_success(of_run, key) for of_run in metrics]) if metrics else math.inf
    return median if math.isfinite(median) else None
