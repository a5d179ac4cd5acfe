"""Runs of one shape that are trained in step: every update is one forward and backward pass over their models, stacked.

The weights of all members are the rows of one tensor, and so is what their optimisers hold; each member's model and
optimiser look into it, so that each can be saved, or go on by itself, at any time. What belongs to a member, its data
order, its learning rate and its place in training, it says itself; so members need not be at the same step. The pass
rounds differently with another number of members: results are those of a run alone within float32 rounding.

On a GPU an update is recorded as a CUDA graph, and some are launched before the losses are looked at.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from fastweights import cells
from fastweights.cells.base import RecurrentLayer
from fastweights.model import SequenceClassifier
from fastweights.training.adam import Adam
from fastweights.training.config import RunConfig
from fastweights.training.evaluation import Score, errors_and_nll, score, sums_over
from fastweights.training.graph import recorded
from fastweights.training.stacked_adam import Layout, StackedAdam

# Updates before the losses are looked at. A CPU has nothing to gain; on a GPU the wait for them is shared by these.
_AT_ONCE = {"cpu": 1, "cuda": 50}

OWN = (
    "seed",
    "learning_rate",
    "schedule",
    "weight_decay",
    "early_updates",
    "early_train_size",
    "clip_norm",
    "updates",
    "evaluate_every",
    "zero_evaluations",
)


def shape(config: RunConfig) -> str:
    """All of a complete configuration that the members of a population must share."""
    values = {name: value for name, value in config.to_dict().items() if name not in OWN}
    own = cells.load(config.cell).tensor_settings
    values["cell_options"] = {name: value for name, value in config.cell_options.items() if name not in own}
    return json.dumps(values, sort_keys=True)


@runtime_checkable
class Member(Protocol):
    """What a population asks of a run in memory (see `fastweights.training.loop.Trainer`)."""

    config: RunConfig
    model: SequenceClassifier
    optimizer: Adam
    data: dict[str, tuple[Tensor, Tensor]]

    def updates_until_due(self) -> int:
        """Updates until it is evaluated or at its end, below 1 if it is at its end."""

    def plan(self, count: int) -> tuple[Int64[np.ndarray, "count B"], list[float]]:
        """Of each of the next `count` updates, the rows of its mini-batch and the learning rate."""

    def has_done(self, count: int) -> None:
        """Go on in step by as many updates, which its model and optimiser have had."""


class Population:
    """Members whose models and optimisers live in the memory of stacked ones.

    Nobody else may move their weights or steps while it is in use.

    Args:
        members: at least one, all of one shape.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        config, models = members[0].config, [member.model for member in members]
        self._data = members[0].data
        self._layout = Layout.of(models[0])
        self._weights = self._take_over(models).requires_grad_()
        self._adam = StackedAdam(
            self._weights,
            self._layout,
            models,
            [member.optimizer for member in members],
            [member.config.clip_norm for member in members],
        )
        self._buffers = {
            name: torch.stack([model.get_buffer(name) for model in models]) for name, _ in models[0].named_buffers()
        }
        self._settings = {
            name: torch.tensor(
                [getattr(model.cell, name) for model in models],
                dtype=torch.float64,  # as the numbers that a model alone has
                device=config.device,
            )
            for name in models[0].cell.tensor_settings
        }
        self._model = copy.deepcopy(models[0]).to("meta")
        # What an update reads and where it leaves the losses: always the same memory, for a graph to be recorded on.
        self._at_once = _AT_ONCE[config.device]
        self._turn = torch.zeros(1, dtype=torch.int64, device=config.device)
        self._rows = self._turn.new_zeros(self._at_once, len(members), config.batch_size)
        self._rates = torch.zeros(self._at_once, len(members), dtype=torch.float64, device=config.device)
        self._losses = self._weights.new_zeros(self._at_once, len(members))
        self._update = self._do_update
        if config.device == "cuda":
            self._update = recorded(self._do_update, [self._weights, *self._adam.state, self._turn])
        self._ahead = self._plan()

    def advance(self) -> list[list[float]]:
        """Some updates of every member, at least one, and none past the first that makes one of them due.

        Returns, for each member, the mean NLL of each of its mini-batches before the update.
        """
        return self._go_on(max(1, min(self._at_once, *(member.updates_until_due() for member in self._members))))

    def update(self) -> list[float]:
        """One update of every member; returns the mean NLL of each one's mini-batch before it."""
        return [loss for (loss,) in self._go_on(1)]

    @torch.no_grad()
    def scores(self, split: str, members: Sequence[int]) -> list[Score]:
        """What some of the members, numbers in 0 … n−1, score on a split of the data."""
        chosen = torch.tensor(members, device=self._weights.device)
        weights, settings, buffers = (
            self._weights[chosen],
            {name: value[chosen] for name, value in self._settings.items()},
            {name: value[chosen] for name, value in self._buffers.items()},
        )

        def of_batch(tokens: Tensor, labels: Tensor) -> Tensor:
            def of_member(weights: Tensor, settings: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
                return errors_and_nll(self._logits(weights, settings, buffers, tokens), labels)

            found: Tensor = vmap(of_member)(weights, settings, buffers)
            return found

        tokens, targets = self._data[split]
        sums = sums_over(of_batch, tokens, targets, len(members))
        return [score(each, len(tokens)) for each in sums.tolist()]

    def _take_over(self, models: Sequence[SequenceClassifier]) -> Float[Tensor, "n P"]:
        """The weights of all models, whose parameters from now on are views of them."""
        weights = torch.stack([torch.cat([p.detach().flatten() for p in model.parameters()]) for model in models])
        for model, row in zip(models, weights, strict=True):
            for parameter, value in zip(model.parameters(), self._layout.cut(row).values(), strict=True):
                parameter.data = value
                parameter.grad = None
        return weights

    def _plan(self) -> tuple[Int64[Tensor, "K n B"], Float64[Tensor, "K n"]]:
        """The rows and learning rates of the next updates, on the host."""
        rows, rates = zip(*(member.plan(self._at_once) for member in self._members), strict=True)
        plan = torch.from_numpy(np.stack(rows, axis=1)), torch.tensor(rates, dtype=torch.float64).T.contiguous()
        if self._turn.is_cuda:  # only from pinned memory does a copy run beside the processor
            plan = plan[0].pin_memory(), plan[1].pin_memory()
        return plan

    def _go_on(self, count: int) -> list[list[float]]:
        rows, rates = self._ahead
        self._rows.copy_(rows, non_blocking=True)
        self._rates.copy_(rates, non_blocking=True)
        self._turn.zero_()
        for _ in range(count):
            self._update()
        for member in self._members:
            member.has_done(count)
        self._ahead = self._plan()  # while a GPU is at work
        losses: list[list[float]] = self._losses[:count].T.tolist()
        return losses

    def _do_update(self) -> None:
        """The update whose turn it is, in the memory that `__init__` laid out: nothing but work for the device."""
        rows = self._rows.index_select(0, self._turn).squeeze(0)
        rates = self._rates.index_select(0, self._turn).squeeze(0)
        tokens, targets = (each[rows] for each in self._data["train"])
        losses = vmap(self._loss)(self._weights, self._settings, self._buffers, tokens.int(), targets.long())
        (gradients,) = torch.autograd.grad(losses.sum(), self._weights)
        self._adam.step(gradients, rates)
        self._losses.index_copy_(0, self._turn, losses.detach().unsqueeze(0))
        self._turn += 1

    def _loss(
        self,
        weights: Tensor,
        settings: dict[str, Tensor],
        buffers: dict[str, Tensor],
        tokens: Tensor,
        targets: Tensor,
    ) -> Tensor:
        return cross_entropy(self._logits(weights, settings, buffers, tokens), targets)

    def _logits(
        self, weights: Tensor, settings: dict[str, Tensor], buffers: dict[str, Tensor], tokens: Tensor
    ) -> Tensor:
        """A member's."""
        with _set(self._model.cell, settings):
            logits: Tensor = functional_call(self._model, (self._layout.cut(weights), buffers), (tokens,))
            return logits


@contextlib.contextmanager
def _set(cell: RecurrentLayer, settings: dict[str, Tensor]) -> Iterator[None]:
    """The cell with a member's settings in place of its own."""
    own = {name: getattr(cell, name) for name in settings}
    try:
        for name, value in settings.items():
            setattr(cell, name, value)
        yield
    finally:
        for name, value in own.items():
            setattr(cell, name, value)
