"""What an experiment leaves in its output folder: the table, the figures, and every run's record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fastweights.experiments.base import Outcome, result_of
from fastweights.report import screening
from fastweights.report.figures import save_picture
from fastweights.report.tables import markdown_table, table_values
from fastweights.training.records import RunDirectory, write_atomically


def save(
    outcome: Outcome, runs: Sequence[RunDirectory], folder: Path, screened: Sequence[RunDirectory] = ()
) -> list[Path]:
    """Write `table.md`, `table.json`, the figures as SVG and PNG, `runs/<run-id>.json` and `screening/<run-id>.json`.

    Where there was a screening, `screening.md` says what was tried and chosen.
    A run's record is its result (configuration, scores, environment), all its evaluations, and its scores elsewhere.
    Returns what to look at.
    """
    _save_records(runs, folder / "runs")
    saved = []
    if outcome.rows:
        saved += [folder / "table.md", folder / "table.json"]
        write_atomically(saved[0], markdown_table(outcome))
        write_atomically(saved[1], json.dumps(table_values(outcome), indent=2) + "\n")
    for name, picture in outcome.figures.items():
        saved += save_picture(picture, folder / name)
    if screened:
        _save_records(screened, folder / "screening")
        saved.append(folder / "screening.md")
        write_atomically(saved[-1], screening.markdown_table(screened, runs))
    return saved


def left_over(runs: Sequence[RunDirectory], screened: Sequence[RunDirectory], folder: Path) -> list[Path]:
    """Records in the folder that are of none of these runs: those of an earlier choice, or of another `runs` folder."""
    kept = {folder / "runs" / f"{run.path.name}.json" for run in runs}
    kept |= {folder / "screening" / f"{run.path.name}.json" for run in screened}
    return sorted({*folder.glob("runs/*.json"), *folder.glob("screening/*.json")} - kept)


def _save_records(runs: Sequence[RunDirectory], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for run in runs:
        record = {"result": result_of(run), "metrics": run.metrics(), "elsewhere": run.elsewhere()}
        write_atomically(folder / f"{run.path.name}.json", json.dumps(record) + "\n")
