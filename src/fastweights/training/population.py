"""The gradients of several runs in one pass: models of one shape, stacked along a dimension of members."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from fastweights.cells.base import RecurrentLayer
from fastweights.model import SequenceClassifier
from fastweights.training.config import RunConfig

# What members need not share. The cell's settings among them are numbers that its recurrence takes as tensors too.
_OWN_FIELDS = {"seed": 0, "learning_rate": 1.0, "schedule": "constant", "clip_norm": None, "evaluate_every": 1}
_OWN_FIELDS |= {"updates": 1, "zero_evaluations": 1}
_OWN_SETTINGS = ("decay", "fast_learning_rate")


def shape_of(config: RunConfig) -> RunConfig:
    """The configuration without what members need not share: those with equal ones can train together."""
    shared = {name: value for name, value in config.cell_options.items() if name not in _OWN_SETTINGS}
    return dataclasses.replace(config, cell_options=shared, **_OWN_FIELDS)  # type: ignore[arg-type]


class Population:
    """The models of several runs, which live on in the memory of the stacked ones: an update of one is one of the other.

    Args:
        models: at least one, all of one shape; their cells may differ in λ and η.
    """

    def __init__(self, models: Sequence[SequenceClassifier]) -> None:
        stacked, self._buffers = stack_module_state(list(models))
        self._stacked = {name: value.detach().requires_grad_() for name, value in stacked.items()}
        self._gradients = {name: torch.zeros_like(value) for name, value in self._stacked.items()}
        for member, model in enumerate(models):
            for name, parameter in model.named_parameters():
                parameter.data = self._stacked[name].detach()[member]
                parameter.grad = self._gradients[name][member]
        self._model = copy.deepcopy(models[0]).to("meta")
        names = [name for name in _OWN_SETTINGS if hasattr(models[0].cell, name)]
        device = next(iter(self._stacked.values())).device
        self._settings = {
            name: torch.tensor([getattr(model.cell, name) for model in models], device=device) for name in names
        }

    def backward(self, tokens: Tensor, targets: Tensor) -> Float[Tensor, " P"]:
        """Every member's mean NLL on its own mini-batch, (P, B, T) and (P, B); leaves the gradients in its model."""
        losses = vmap(self._loss)(self._stacked, self._buffers, self._settings, tokens, targets)
        gradients = torch.autograd.grad(losses.sum(), list(self._stacked.values()))
        torch._foreach_copy_(list(self._gradients.values()), list(gradients))
        return losses.detach()

    def _loss(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        settings: dict[str, Tensor],
        tokens: Tensor,
        targets: Tensor,
    ) -> Tensor:
        with _set(self._model.cell, settings):
            return cross_entropy(functional_call(self._model, (parameters, buffers), (tokens,)), targets)


@contextlib.contextmanager
def _set(cell: RecurrentLayer, settings: dict[str, Tensor]) -> Iterator[None]:
    """The cell with a member's settings in place of its own."""
    own: dict[str, Any] = {name: getattr(cell, name) for name in settings}
    try:
        for name, value in settings.items():
            setattr(cell, name, value)
        yield
    finally:
        for name, value in own.items():
            setattr(cell, name, value)
