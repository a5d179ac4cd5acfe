"""Training one run to its end: Adam on mini-batches, validation on a schedule, the best weights tested once."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from fastweights import cells, tasks
from fastweights.cells.base import RecurrentLayer
from fastweights.errors import RunError, UsageError
from fastweights.model import SequenceClassifier
from fastweights.tasks.base import Task
from fastweights.training import checkpoint, environment, options
from fastweights.training.adam import Adam
from fastweights.training.config import Device, RunConfig, Schedule
from fastweights.training.distributed import ALONE, Group
from fastweights.training.evaluation import Score, evaluate
from fastweights.training.options import Option
from fastweights.training.population import Population
from fastweights.training.records import RunDirectory
from fastweights.training.repair import set_damage_aside

Status = Literal["finished", "diverged"]
Ending = tuple[Status, str]
"""How a run ended, and why."""
Notify = Callable[[dict[str, Any]], None]
_NOTICE_SECONDS = 0.5


@dataclass
class Progress:
    """The counters that a checkpoint carries besides weights and optimiser state."""

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_error: float = math.inf
    best_nll: float = math.inf
    zeros_in_a_row: int = 0
    members: int = 1
    """The most runs that were trained together with this one in a population, itself included."""


def complete(config: RunConfig) -> RunConfig:
    """`config` with every option of its cell and task written out and `auto` resolved: its record leaves nothing open.

    Raises UsageError for an option or a value that the run, its cell or its task does not take.
    """
    config = config.checked()
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UsageError('device "cuda" is not there: this torch sees no GPU; use device="cpu"')
    values = config.to_dict()
    cell_options, task_options = _options_in_full(json.dumps({name: values[name] for name in _SHAPES_THE_MODEL}))
    return dataclasses.replace(config, cell_options=dict(cell_options), task_options=dict(task_options))


def on_device(config: RunConfig, device: Device) -> RunConfig:
    """`config`, complete, on another device; its layer's backend is resolved anew, for not all run on both.

    Raises UsageError as `complete` does.
    """
    if config.device != device:
        options_left = {name: value for name, value in config.cell_options.items() if name != "backend"}
        config = dataclasses.replace(config, device=device, cell_options=options_left)
    return complete(config)


_SHAPES_THE_MODEL = (
    *("cell", "hidden_size", "cell_options", "task", "task_options"),
    *("embedding_size", "input_size", "head_size", "device"),
)


@cache  # a grid has many configurations of few models
def _options_in_full(values: str) -> tuple[dict[str, Option], dict[str, Option]]:
    config = RunConfig.from_dict(json.loads(values))
    cell_options = options.complete(cells.load(config.cell), config.cell_options)
    task_options = options.complete(tasks.load(config.task), config.task_options)
    completed = dataclasses.replace(config, cell_options=cell_options, task_options=task_options)
    try:
        cell = build_model(completed).cell  # its constructors raise for values that only they can check
    except RuntimeError as error:  # torch's word for a size that does not fit into memory
        raise UsageError(f"cannot build this model: {error}") from error
    if "backend" in cell_options:
        cell_options["backend"] = cell.backend_for(build_task(completed).sequence_length)
    return cell_options, task_options


def build_task(config: RunConfig) -> Task:
    """The task of a run."""
    return tasks.load(config.task)(**config.task_options)


def build_model(config: RunConfig) -> SequenceClassifier:
    """The model of a run, on its device, with the initial weights that its seed gives on every device.

    torch's global generator is left as it was.
    """
    task = build_task(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        layer: Callable[..., RecurrentLayer] = cells.load(config.cell)
        cell = layer(config.input_size, config.hidden_size, **config.cell_options)
        return SequenceClassifier(
            task.num_tokens,
            task.num_classes,
            cell,
            embedding_size=config.embedding_size,
            head_size=config.head_size,
        ).to(config.device)


def learning_rate_at(step: int, *, start: float, updates: int, schedule: Schedule) -> float:
    """The learning rate of update `step`, counted from 0."""
    if schedule == "constant":
        return start
    if schedule == "linear":
        return start * (1 - step / updates)
    return start * 0.5 * (1 + math.cos(math.pi * step / updates))


@lru_cache(maxsize=1)  # the members of a population have the same
def _data(values: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Tokens and targets of every split, on the device, of a configuration given as `_DATA` in JSON."""
    config = RunConfig.from_dict(json.loads(values))
    task = build_task(config)
    splits = {
        "train": task.split("train", config.train_size, config.data_seed),
        "validation": task.split("validation", config.validation_size, config.data_seed),
        "test": task.split("test", config.test_size, config.data_seed),
    }
    return {
        name: (torch.from_numpy(split.tokens).to(config.device), torch.from_numpy(split.targets).to(config.device))
        for name, split in splits.items()
    }


_DATA = ("task", "task_options", "train_size", "validation_size", "test_size", "data_seed", "device")


class Trainer:
    """A run in memory: made at its start or restored from its newest checkpoint, then stepped.

    The order of the data is a function of (seed, step), so that the step alone tells where in the data a run is.
    """

    def __init__(self, run: RunDirectory, group: Group = ALONE) -> None:
        environment.commit()  # now: the code that runs is what has been loaded, whatever is committed later
        self.run = run
        self.group = group
        self.config = config = run.config()
        self.model = build_model(config)
        self.optimizer = Adam(self.model, config.weight_decay)
        self.progress = Progress()
        self.best: dict[str, Tensor] | None = None
        self.random_state: Tensor | None = None
        """torch's, where it is not the process's own: a member of a population draws nothing from that."""
        self._order: tuple[tuple[bool, int], np.ndarray] = ((False, -1), np.empty(0, dtype=np.int64))
        self.data = _data(json.dumps({name: getattr(config, name) for name in _DATA}))
        self._restore()
        self.start_clock()

    def _restore(self) -> None:
        saved = checkpoint.load(self.run.path)
        if saved is None:
            torch.manual_seed(self.config.seed)
            self._rewind_metrics()
            return
        self.model.load_state_dict(saved.model)
        self.best = saved.best
        self.optimizer.load_state_dict(saved.trainer["optimizer"])
        torch.set_rng_state(saved.trainer["rng"])
        self.progress = Progress(**saved.trainer["progress"])
        self._rewind_metrics()

    def _rewind_metrics(self) -> None:
        if self.group.is_first:
            self.run.rewind_metrics(self.progress.step)

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        if not self.group.is_first:
            return
        trainer = {
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state() if self.random_state is None else self.random_state,
            "progress": dataclasses.asdict(self.progress),
        }
        saved = checkpoint.Checkpoint(self.model.state_dict(), self.best, trainer)
        checkpoint.save(self.run.path, self.progress.step, saved)

    def update(self) -> Float[Tensor, ""]:
        """One update; returns the mini-batch's mean NLL before it."""
        tokens, targets = self.next_batch()
        # The mean over this process's rows, weighted so that the sum over the group is the mean over the mini-batch.
        loss = cross_entropy(self.model(tokens), targets) * (len(targets) / self.config.batch_size)
        self.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        self.group.add([loss.detach(), *gradients])
        self.step()
        return loss.detach()

    def next_batch(self) -> tuple[Int32[Tensor, "B T"], Int64[Tensor, " B"]]:
        """This process's share of the next update's tokens and targets."""
        rows = self.group.share(self._mini_batch(self.progress.step))
        tokens, targets = self.data["train"]
        return tokens[rows].int(), targets[rows].long()

    def step(self) -> None:
        """Let the optimiser use the gradients that the model holds."""
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step(self._learning_rate(self.progress.step))
        self.progress.step += 1

    def plan(self, count: int) -> tuple[Int64[np.ndarray, "count B"], list[float]]:
        """Of each of the next `count` updates, the rows of its mini-batch and the learning rate."""
        steps = range(self.progress.step, self.progress.step + count)
        return self._mini_batches(steps.start, count), [self._learning_rate(step) for step in steps]

    def has_done(self, count: int) -> None:
        """Go on in step by as many updates, which model and optimiser have had."""
        self.progress.step += count

    def _learning_rate(self, step: int) -> float:
        config = self.config
        return learning_rate_at(step, start=config.learning_rate, updates=config.updates, schedule=config.schedule)

    def _mini_batch(self, step: int) -> Int64[Tensor, " B"]:
        """Row numbers of update `step`."""
        return torch.from_numpy(self._mini_batches(step, 1)[0]).to(self.config.device)

    def _mini_batches(self, step: int, count: int) -> Int64[np.ndarray, "count B"]:
        """Row numbers of updates from `step` on: each epoch is a fresh permutation, cut into whole mini-batches.

        The early updates have epochs of their own, of the first sequences only.
        """
        config, early = self.config, step < self.config.early_updates
        size, begun = (config.early_train_size, 0) if early else (config.train_size, config.early_updates)
        assert size is not None  # as `RunConfig.checked` makes sure
        epoch, position = divmod(step - begun, size // config.batch_size)
        if self._order[0] != (early, epoch):
            generator = np.random.default_rng([config.seed, epoch, 1] if early else [config.seed, epoch])
            whole = generator.permutation(size)[: size // config.batch_size * config.batch_size]
            self._order = ((early, epoch), whole.reshape(-1, config.batch_size))
        rows = self._order[1][position : position + (min(count, config.early_updates - step) if early else count)]
        left = count - len(rows)
        return rows if left == 0 else np.concatenate([rows, self._mini_batches(step + len(rows), left)])

    def evaluate(self, scores: tuple[Score, Score] | None = None) -> dict[str, Any]:
        """Score validation and test, keep the weights if validation is the best so far; returns the metrics line.

        `scores` are those of validation and test, if they are known. The test score is recorded for the learning curve
        (Figure 2 shows test NLL). Nothing is decided by it.
        """
        validation, test = scores or (
            evaluate(self.model, *self.data["validation"], self.group),
            evaluate(self.model, *self.data["test"], self.group),
        )
        progress = self.progress
        score = (validation.error, validation.nll)
        if math.isfinite(validation.nll) and score < (progress.best_error, progress.best_nll):
            progress.best_step, (progress.best_error, progress.best_nll) = progress.step, score
            self.best = {name: value.clone() for name, value in self.model.state_dict().items()}
        progress.zeros_in_a_row = progress.zeros_in_a_row + 1 if validation.errors == 0 else 0
        return {
            "step": progress.step,
            "validation_error": validation.error,
            "validation_nll": validation.nll,
            "test_error": test.error,
            "test_nll": test.nll,
        }

    def start_clock(self) -> None:
        """Count seconds from now on, beyond those of the checkpoint."""
        self._started = time.monotonic() - self.progress.seconds
        self._noticed = self.progress.seconds

    def updates_until_due(self) -> int:
        """Updates until the next evaluation or the end of the budget, 0 at its end."""
        every, step = self.config.evaluate_every, self.progress.step
        return min(every - step % every, self.config.updates - step)

    def evaluation_is_due(self) -> bool:
        """Whether this is a step at which the run is evaluated."""
        return self.progress.step % self.config.evaluate_every == 0 or self.progress.step == self.config.updates

    def follow_up(
        self, losses: Sequence[float], notify: Notify, scores: tuple[Score, Score] | None = None
    ) -> Ending | None:
        """What updates with these losses bring with them: evaluation and checkpoint when they are due, and news.

        None of the updates but the last may have been at a step at which the run is evaluated. `scores` as for
        `evaluate`. Returns the ending if the run is over.
        """
        progress = self.progress
        progress.seconds = time.monotonic() - self._started
        diverged = next((index for index, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if diverged is not None:
            progress.step -= len(losses) - 1 - diverged  # the updates after it were of no use
            return "diverged", f"the training loss was {losses[diverged]} at update {progress.step}"
        if self.evaluation_is_due():
            metrics = self.evaluate(scores) | {"train_loss": losses[-1]}
            progress.seconds = time.monotonic() - self._started
            if self.group.is_first:
                self.run.append_metrics(metrics | {"seconds": round(progress.seconds, 2)})
            if not math.isfinite(metrics["validation_nll"]):
                return "diverged", f"the validation NLL was {metrics['validation_nll']} at update {progress.step}"
            self.save()
            notify(metrics)
            self._noticed = progress.seconds
        elif progress.seconds - self._noticed > _NOTICE_SECONDS:
            notify({"step": progress.step})
            self._noticed = progress.seconds
        return self.ending()

    def ending(self) -> Ending | None:
        """Why no update is left to do, if none is."""
        if self.progress.zeros_in_a_row >= self.config.zero_evaluations:
            return "finished", f"validation error zero {self.config.zero_evaluations} times in a row"
        if self.progress.step >= self.config.updates:
            return "finished", "budget used up"
        return None

    def finish(self, ending: Ending) -> None:
        """Write the run's result."""
        result = self.result(*ending)
        if self.group.is_first:
            self.run.write_result(result)

    def result(self, status: Status, reason: str) -> dict[str, Any]:
        """The run's record, with the best weights by validation scored on the test set."""
        progress = self.progress
        test = None
        if self.best is not None:
            self.model.load_state_dict(self.best)
            test = evaluate(self.model, *self.data["test"], self.group)
        return {
            "status": status,
            "reason": reason,
            "run_id": self.config.run_id,
            "config": self.config.to_dict(),
            "updates": progress.step,
            "seconds": round(progress.seconds, 2),
            "best_update": progress.best_step if test else None,
            "validation_error": progress.best_error if test else None,
            "validation_nll": progress.best_nll if test else None,
            "test_errors": test.errors if test else None,
            "test_count": test.total if test else None,
            "test_nll": test.nll if test else None,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "cell_parameters": sum(parameter.numel() for parameter in self.model.cell.parameters()),
            "state_size": sum(math.prod(size) for size in self.model.cell.state_sizes),
            "backend": self.model.cell.backend_for(build_task(self.config).sequence_length),
            "processes": self.group.size,
            "members": self.progress.members,
            "environment": environment.describe(),
        }


def train(run: RunDirectory, *, stop: Callable[[], bool], notify: Notify, group: Group = ALONE) -> bool:
    """Train a run from where it stands to its end.

    Args:
        run: its directory; the run goes on from the newest checkpoint there.
        stop: asked before every update, on a GPU before every few; once it says yes on some process of the group, a
            checkpoint is written and training returns.
        notify: told, on the first process, the metrics of every evaluation, the step about twice a second, and what was
            found damaged and set aside.
        group: the processes that train the run together.

    Returns:
        Whether the run is over; False if it was stopped.

    Raises:
        RunInUse: another process trains it.
        RunError: its configuration is damaged, the disk refuses a checkpoint, or the processes of the group do not see
            the same one.
    """
    if not group.is_first:
        # The first process holds the lock, and says whether there is anything to do.
        return True if group.first_says(None) else _train_on(run, stop, lambda message: None, group)
    with run.locked():
        over = is_over(run, notify)
        return group.first_says(over) or _train_on(run, stop, notify, group)


def is_over(run: RunDirectory, notify: Notify) -> bool:
    """Whether there is a result, once what is damaged of the run has been set aside. The caller holds the lock."""
    for path in set_damage_aside(run):
        notify({"set aside": str(path)})
    return run.result() is not None


def _train_on(run: RunDirectory, stop: Callable[[], bool], notify: Notify, group: Group) -> bool:
    with environment.of_training(run.config().threads):
        trainer = Trainer(run, group)
        step = group.first_says(trainer.progress.step)
        if group.any(trainer.progress.step != step):
            raise RunError(
                f"another process does not see the checkpoint of update {step}; all hosts must share {run.path}"
            )
        return go_on(trainer, stop, notify)


def go_on(trainer: Trainer, stop: Callable[[], bool], notify: Notify) -> bool:
    """Train a run in memory to its end; returns False, with a checkpoint written, if it was stopped. See `train`."""
    ending = trainer.ending()
    advance = advancing(trainer)
    while ending is None:
        if trainer.group.any(stop()):
            trainer.save()
            return False
        ending = trainer.follow_up(advance(), notify)
    trainer.finish(ending)
    return True


def advancing(trainer: Trainer) -> Callable[[], list[float]]:
    """What does the run's next updates and returns their losses: one, or on a GPU, where launches cost, several."""
    if trainer.config.device == "cuda" and trainer.group.size == 1:
        population = Population([trainer])
        return lambda: population.advance()[0]
    return lambda: [float(trainer.update())]
