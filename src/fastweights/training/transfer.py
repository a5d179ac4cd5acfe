"""A trained run's best weights, tested on sequences that it was not trained on."""

from __future__ import annotations

from dataclasses import replace

import torch

from fastweights.training import checkpoint, environment
from fastweights.training.config import RunConfig
from fastweights.training.evaluation import Score, evaluate
from fastweights.training.loop import build_model, build_task, on_device
from fastweights.training.options import Option
from fastweights.training.records import RunDirectory


def with_task(config: RunConfig, task_options: dict[str, Option]) -> RunConfig:
    """`config` with some of its task's options changed."""
    return replace(config, task_options={**config.task_options, **task_options})


def score_elsewhere(run: RunDirectory, task_options: dict[str, Option]) -> Score | None:
    """The score on the test set of the run's task with some options changed; None if no weights were ever the best.

    It is kept in the run directory, and read from there the next time.
    """
    kept = run.elsewhere()
    for entry in kept:
        if entry["task_options"] == task_options:
            return Score(entry["test_errors"], entry["test_count"], entry["test_nll"])
    score = _score(run, task_options)
    if score is not None:
        values = {"test_errors": score.errors, "test_count": score.total, "test_nll": score.nll}
        run.write_elsewhere([*kept, {"task_options": task_options, **values}])
    return score


def _score(run: RunDirectory, task_options: dict[str, Option]) -> Score | None:
    config = on_device(run.config(), "cpu")
    saved = checkpoint.load(run.path)
    if saved is None or saved.best is None:
        return None
    model = build_model(config)
    model.load_state_dict(saved.best)
    test = build_task(with_task(config, task_options)).split("test", config.test_size, config.data_seed)
    with environment.threads(config.threads):
        return evaluate(model, torch.from_numpy(test.tokens), torch.from_numpy(test.targets))
