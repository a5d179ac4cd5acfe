"""Asking a trained run for the value of a key."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn.functional import embedding

from fastweights.cells.fast_weights import FastWeightRNN
from fastweights.errors import RunError
from fastweights.training import checkpoint
from fastweights.training.loop import build_model, build_task, on_device
from fastweights.training.records import RunDirectory


class Attended(NamedTuple):
    """With which coefficient (eq. 4) the hidden vector of an earlier step, which read `token`, entered the last one."""

    step: int
    token: str
    weight: float


class Answer(NamedTuple):
    """What a run answers: `value` with `probability`, beside the value that is right.

    `attended` lists the earlier steps in order; it is None for a cell without fast weights.
    """

    text: str
    value: str
    probability: float
    expected: str
    attended: list[Attended] | None


@torch.no_grad()
def recall(run: RunDirectory, text: str) -> Answer:
    """Answer a sequence typed as text with the run's best weights so far.

    Raises:
        UsageError: the text is malformed.
        RunError: the run has no evaluated weights yet, or they cannot be read.
    """
    config = on_device(run.config(), "cpu")
    task = build_task(config)
    tokens = task.encode(text)
    saved = checkpoint.load(run.path)
    if saved is None or saved.best is None:
        raise RunError(
            f"{run.path} has no evaluated weights yet; train it for {config.evaluate_every} updates at least"
        )
    model = build_model(config)
    model.load_state_dict(saved.best)
    batch = torch.from_numpy(tokens).int().unsqueeze(0)
    probability, label = model(batch).softmax(dim=-1).squeeze(0).max(dim=-1)
    return Answer(
        text=text,
        value=task.class_names[int(label)],
        probability=float(probability),
        expected=task.class_names[int(task.solve(tokens[None])[0])],
        attended=_attended(model.cell, embedding(batch, model.token_inputs()), text),
    )


def _attended(cell: torch.nn.Module, inputs: torch.Tensor, text: str) -> list[Attended] | None:
    """The attention of the last step to each earlier one, for a fast-weight layer."""
    if not isinstance(cell, FastWeightRNN):
        return None
    weights = cell.attention(inputs if cell.batch_first else inputs.transpose(0, 1))[0, -1, :-1]
    return [Attended(step, text[step], float(weight)) for step, weight in enumerate(weights)]
