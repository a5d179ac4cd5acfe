"""Several runs of one shape in one process: one forward and backward pass over their models, stacked.

Only that pass is shared. Data order, optimiser, clipping, evaluations, checkpoints and ending are every member's own,
and those of a run alone (see loop.py); so members need not be at the same step, and each can go on without the others.
The pass rounds differently with another number of members: results are those of a run alone within float32 rounding.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from fastweights import cells
from fastweights.cells.base import RecurrentLayer
from fastweights.errors import UsageError
from fastweights.training import environment
from fastweights.training.config import RunConfig
from fastweights.training.loop import Trainer, is_over
from fastweights.training.records import RunDirectory

Outcome = bool | Exception
"""Whether a run is over, False if it was stopped; or what made it fail."""
Notify = Callable[[RunDirectory, dict[str, Any]], None]

_OWN = (
    "seed",
    "learning_rate",
    "schedule",
    "weight_decay",
    "clip_norm",
    "updates",
    "evaluate_every",
    "zero_evaluations",
)


def shape(config: RunConfig) -> str:
    """All of a complete configuration that the members of a population must share."""
    values = {name: value for name, value in config.to_dict().items() if name not in _OWN}
    own = cells.load(config.cell).tensor_settings
    values["cell_options"] = {name: value for name, value in config.cell_options.items() if name not in own}
    return json.dumps(values, sort_keys=True)


class Population:
    """Trainers whose models live in the memory of stacked ones, so that each can still be used by itself.

    Args:
        members: at least one, all of one shape.
    """

    def __init__(self, members: Sequence[Trainer]) -> None:
        self._members = members
        models = [member.model for member in members]
        stacked, self._buffers = stack_module_state(models)
        self._parameters = {name: value.detach().requires_grad_() for name, value in stacked.items()}
        self._gradients = {name: torch.zeros_like(value) for name, value in self._parameters.items()}
        for index, model in enumerate(models):
            for name, parameter in model.named_parameters():
                parameter.data = self._parameters[name].detach()[index]
                parameter.grad = self._gradients[name][index]
        self._model = copy.deepcopy(models[0]).to("meta")
        self._settings = {
            name: torch.tensor(
                [getattr(model.cell, name) for model in models],
                dtype=torch.float64,  # as the numbers that a model alone has
                device=members[0].config.device,
            )
            for name in models[0].cell.tensor_settings
        }

    def update(self) -> list[float]:
        """One update of every member; returns the mean NLL of each one's mini-batch before it."""
        tokens, targets = (torch.stack(each) for each in zip(*(m.next_batch() for m in self._members), strict=True))
        losses = vmap(self._loss)(self._parameters, self._buffers, self._settings, tokens, targets)
        gradients = torch.autograd.grad(losses.sum(), list(self._parameters.values()))
        torch._foreach_copy_(list(self._gradients.values()), list(gradients))
        for member in self._members:
            member.step()
        found: list[float] = losses.tolist()
        return found

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


def train_together(
    runs: Sequence[RunDirectory], *, stop: Callable[[], bool], notify: Notify
) -> Iterator[tuple[RunDirectory, Outcome]]:
    """Train runs of one shape together, each from where it stands to its end.

    Args:
        runs: their directories; those that are over, or that another process trains, are left out.
        stop: asked before every update; once it says yes, every member writes a checkpoint.
        notify: told of every run what `loop.train` tells.

    Yields:
        Every run once, as soon as it is over, stopped or has failed. What a member fails of does not stop the others;
        what the shared pass fails of stops all.
    """
    left = list(runs)
    try:
        with contextlib.ExitStack() as held:
            for run, outcome in _train(runs, held, stop, notify):
                left.remove(run)
                yield run, outcome
    except Exception as error:
        for run in left:
            yield run, error


def _train(
    runs: Sequence[RunDirectory], held: contextlib.ExitStack, stop: Callable[[], bool], notify: Notify
) -> Iterator[tuple[RunDirectory, Outcome]]:
    configs = [run.config() for run in runs]
    if len({shape(config) for config in configs}) > 1:
        raise UsageError("the runs of a population may differ only in seed, learning rate, λ, η and length")
    held.enter_context(environment.threads(configs[0].threads))
    held.enter_context(torch.random.fork_rng(devices=[]))
    members: list[Trainer] = []
    for run in runs:
        try:
            held.enter_context(run.locked())
            member = _begin(run, notify)
        except Exception as error:
            yield run, error
            continue
        if member is None:
            yield run, True
        else:
            members.append(member)
    for member in members:
        member.progress.members = max(member.progress.members, len(members))
        member.start_clock()
    while members:
        update = Population(members).update if len(members) > 1 else _alone(members[0])
        ended: dict[Trainer, Outcome] = {}
        while not ended:
            ended = _advance(members, update, stop, notify)
        yield from ((member.run, outcome) for member, outcome in ended.items())
        members = [member for member in members if member not in ended]


def _begin(run: RunDirectory, notify: Notify) -> Trainer | None:
    """A member where its run stands, or None if that is over."""
    if is_over(run, lambda message: notify(run, message)):
        return None
    member = Trainer(run)
    member.random_state = torch.get_rng_state()
    ending = member.ending()
    if ending is not None:
        member.finish(ending)
        return None
    return member


def _alone(member: Trainer) -> Callable[[], list[float]]:
    return lambda: [float(member.update())]


def _advance(
    members: list[Trainer], update: Callable[[], list[float]], stop: Callable[[], bool], notify: Notify
) -> dict[Trainer, Outcome]:
    """One update of all members; what became of those that end with it."""
    if stop():
        return {member: _stop(member) for member in members}
    followed = {member: _follow_up(member, loss, notify) for member, loss in zip(members, update(), strict=True)}
    return {member: outcome for member, outcome in followed.items() if outcome is not None}


def _stop(member: Trainer) -> Outcome:
    try:
        member.save()
    except Exception as error:
        return error
    return False


def _follow_up(member: Trainer, loss: float, notify: Notify) -> Outcome | None:
    """None if the member goes on."""
    try:
        ending = member.follow_up(loss, lambda message: notify(member.run, message))
        if ending is None:
            return None
        member.finish(ending)
    except Exception as error:
        return error
    return True


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
