"""What is compared: our backends, their compiled eager forms, and torch's own layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from fastweights import kernels
from fastweights.bench.points import INPUT_SIZE, Pass, Point, Scope
from fastweights.bench.recurrence import recurrence, starting_inputs
from fastweights.cells.associative_lstm import AssociativeLSTM
from fastweights.cells.fast_weights import FastWeightRNN
from fastweights.cells.irnn import IRNN
from fastweights.cells.lstm import LSTM
from fastweights.model import SequenceClassifier
from fastweights.training.adam import Adam

# More would not fit beside the system on a small machine.
_MEMORY_LIMIT = 8 * 2**30
# torch.compile unrolls the loop over time; past this it takes minutes to compile.
_COMPILE_STEPS = 64
# Eager loops take minutes past this, and a training step of the task is short.
_EAGER_STEPS = 1024
_TRAINING_STEPS = 64
EAGER_ATTENTION_STEPS = 256
"""Eager attention restacks the past at every step; past this its O(T²) copies take minutes."""


class Calls(NamedTuple):
    """A contender at one size, ready to be called: once forward without gradients, once forward and backward."""

    forward: Callable[[], object]
    forward_backward: Callable[[], object]

    def of(self, which: Pass) -> Callable[[], object]:
        """The call that makes the pass."""
        return self.forward if which == "forward" else self.forward_backward


class Contender(ABC):
    """Something that runs a recurrence."""

    name: str
    scope: ClassVar[Scope]

    def why_not(self, point: Point) -> str | None:
        """Why it is not run at this size, or None."""
        return None

    @abstractmethod
    def prepare(self, point: Point) -> Calls:
        """Its calls at this size, on random input that is the same for every contender."""


class Recurrence(Contender):
    """The fast-weight recurrence alone, z given, by one backend, compiled or not."""

    scope = "recurrence"

    def __init__(self, backend: kernels.Backend, *, compiled: bool = False) -> None:
        self.name = f"fast weights, {backend}{', torch.compile' if compiled else ''}"
        self.backend = backend
        self.compiled = compiled

    def why_not(self, point: Point) -> str | None:
        missing = kernels.missing_backends().get(self.backend)
        if missing:
            return missing
        if self.compiled and point.steps > _COMPILE_STEPS:
            return f"compiles an unrolled loop; only up to {_COMPILE_STEPS} steps"
        if self.backend == "reference" and point.steps > _EAGER_STEPS:
            return f"an eager loop; only up to {_EAGER_STEPS} steps"
        if self.backend == "attention" and point.steps > EAGER_ATTENTION_STEPS:
            return f"restacks the past at every step; only up to {EAGER_ATTENTION_STEPS} steps"
        stored = 4 * point.batch * point.steps * point.hidden_size**2  # an A for every step, kept by autograd
        if self.backend == "reference" and 2 * stored > _MEMORY_LIMIT:
            return f"would hold {2 * stored / 2**30:.0f} GiB for the backward pass"
        return None

    def prepare(self, point: Point) -> Calls:
        inputs, upstream = starting_inputs((point.batch, point.steps, point.hidden_size))
        whole = recurrence(self.backend)

        def run(*inputs: Tensor) -> Tensor:
            return whole(*inputs)[0]

        return make_calls(torch.compile(run, dynamic=False) if self.compiled else run, inputs, upstream)


class Layer(Contender):
    """A whole layer, input product included."""

    scope = "layer"

    def __init__(self, name: str, build: Callable[[int], nn.Module], *, eager: bool = False) -> None:
        self.name = name
        self.build = build
        self.eager = eager

    def why_not(self, point: Point) -> str | None:
        if self.eager and point.steps > EAGER_ATTENTION_STEPS:
            return f"an eager loop of many operations; only up to {EAGER_ATTENTION_STEPS} steps"
        return None

    def prepare(self, point: Point) -> Calls:
        torch.manual_seed(0)
        layer = self.build(point.hidden_size)
        x = torch.randn(point.batch, point.steps, INPUT_SIZE)
        upstream = torch.randn(point.batch, point.steps, point.hidden_size)

        def run(x: Tensor, *parameters: Tensor) -> Tensor:
            out: Tensor = layer(x)[0]
            return out

        return make_calls(run, (x, *layer.parameters()), upstream)


class TrainingStep(Contender):
    """An update of Section 4.1's model: embedding, recurrence, head, loss and Adam. Forward alone is a prediction."""

    scope = "training step"

    def __init__(self, backend: kernels.Backend) -> None:
        self.name = f"training step, {backend}"
        self.backend = backend

    def why_not(self, point: Point) -> str | None:
        if point.steps > _TRAINING_STEPS:
            return f"the task has short sequences; only up to {_TRAINING_STEPS} steps"
        return Recurrence(self.backend).why_not(point)

    def prepare(self, point: Point) -> Calls:
        torch.manual_seed(0)
        model = SequenceClassifier(37, 10, FastWeightRNN(INPUT_SIZE, point.hidden_size, backend=self.backend))
        optimizer = Adam(model)
        tokens, labels = torch.randint(37, (point.batch, point.steps)), torch.randint(10, (point.batch,))

        def predict() -> object:
            with torch.no_grad():
                return model(tokens)

        def update() -> object:
            model.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(tokens), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            return optimizer.step(1e-3)

        return Calls(predict, update)


def make_calls(function: Callable[..., Any], inputs: tuple[Tensor, ...], upstream: Tensor) -> Calls:
    """Calls of a function of these inputs; the second finds the gradients of all that require one."""
    wanted = [value for value in inputs if value.requires_grad]

    def forward() -> object:
        with torch.no_grad():
            return function(*inputs)

    def forward_backward() -> object:
        return torch.autograd.grad(function(*inputs), wanted, upstream)

    return Calls(forward, forward_backward)


def all_contenders() -> list[Contender]:
    """Everything that `fastweights bench` compares."""
    return [
        Recurrence("reference"),
        Recurrence("attention"),
        Recurrence("reference", compiled=True),
        Recurrence("attention", compiled=True),
        Recurrence("cpu"),
        Layer("FastWeightRNN", lambda size: FastWeightRNN(INPUT_SIZE, size, batch_first=True)),
        Layer("LSTM", lambda size: LSTM(INPUT_SIZE, size, batch_first=True)),
        Layer("IRNN", lambda size: IRNN(INPUT_SIZE, size, batch_first=True)),
        Layer("AssociativeLSTM", lambda size: AssociativeLSTM(INPUT_SIZE, size, batch_first=True)),
        Layer(
            "AssociativeLSTM, reference",
            lambda size: AssociativeLSTM(INPUT_SIZE, size, batch_first=True, backend="reference"),
            eager=True,
        ),
        Layer("torch.nn.LSTM", lambda size: nn.LSTM(INPUT_SIZE, size, batch_first=True)),
        Layer("torch.nn.RNN (ReLU)", lambda size: nn.RNN(INPUT_SIZE, size, nonlinearity="relu", batch_first=True)),
        TrainingStep("reference"),
        TrainingStep("attention"),
        TrainingStep("cpu"),
    ]
