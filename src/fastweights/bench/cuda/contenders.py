"""What is compared on a GPU: ours, the eager forms with and without a CUDA graph, torch.compile, and cuDNN's layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fastweights import kernels
from fastweights.bench.contenders import EAGER_ATTENTION_STEPS, make_calls
from fastweights.bench.cuda.machine import Machine
from fastweights.bench.cuda.points import Point
from fastweights.bench.measure import Call
from fastweights.bench.points import Pass, Scope
from fastweights.bench.recurrence import recurrence, starting_inputs
from fastweights.cells.fast_weights import FastWeightRNN

# Past this a forward pass that streams A, or the past, through memory a few times takes seconds.
_MOST_STREAMED = 2**39
# Past this no program holds A on the chip; ours, too, streams it.
_ON_CHIP = 128

OURS, OURS_GRAPHED, OUR_LAYER = "ours", "ours, CUDA graph", "our layer"
EAGER, GRAPHED_EAGER = "eager explicit A", "eager explicit A, CUDA graph"
CUDNN_LSTM, CUDNN_LSTM_TF32 = "cuDNN LSTM", "cuDNN LSTM, TF32"


class Contender(ABC):
    """Something that runs a recurrence on a GPU."""

    name: str
    scope: ClassVar[Scope]
    tf32: bool = False
    """Whether cuDNN may round the factors of its products."""
    graphed: bool = False
    """Whether a call replays what was captured, in memory that was set aside then."""

    def why_not(self, point: Point, which: Pass, machine: Machine) -> str | None:
        """Why it does not make this pass at this size, or None."""
        return None

    @abstractmethod
    def prepare(self, point: Point, which: Pass, machine: Machine) -> Call:
        """The call that makes the pass, on random input that is the same for every contender."""


class Recurrence(Contender):
    """The fast-weight recurrence alone, z given, by one backend: called from Python, captured, or compiled."""

    scope = "recurrence"

    def __init__(
        self,
        name: str,
        backend: kernels.Backend,
        *,
        graphed: bool = False,
        compiled: Literal["default", "max-autotune"] | None = None,
    ) -> None:
        self.name = name
        self.backend = backend
        self.graphed = graphed or compiled == "max-autotune"
        self.captured = graphed
        self.compiled = compiled

    def why_not(self, point: Point, which: Pass, machine: Machine) -> str | None:
        if missing := kernels.missing_backends().get(self.backend):
            return missing
        if self.backend == "attention" and point.steps > EAGER_ATTENTION_STEPS:
            return f"restacks the past at every step; only up to {EAGER_ATTENTION_STEPS} steps"
        eager = self.backend in ("attention", "reference")
        streamed = 0
        if self.backend == "attention":
            streamed = 4 * point.sequences * point.hidden_size * point.steps**2 // 2  # the past at every step
        elif eager or point.hidden_size > _ON_CHIP:
            streamed = 4 * point.sequences * point.hidden_size**2 * point.steps  # an A at every step
        if streamed > _MOST_STREAMED:
            return f"streams {streamed / 2**30:,.0f} GiB several times, which takes seconds"
        # Autograd keeps it all.
        if eager and which == "forward+backward" and 2 * streamed > machine.memory:
            return f"would hold {streamed / 2**30:,.0f} GiB for the backward pass"
        return None

    def prepare(self, point: Point, which: Pass, machine: Machine) -> Call:
        lead = (point.members,) if point.members > 1 else ()
        inputs, upstream = starting_inputs((*lead, point.batch, point.steps, point.hidden_size), machine.device)
        whole = recurrence(self.backend, members=point.members, device=machine.device)

        def run(*inputs: Tensor) -> Tensor:
            return whole(*inputs)[0]

        function: Callable[..., Tensor] = run
        if self.compiled is not None:
            # It counts what it has compiled of the same code, and past a limit runs eagerly without a word.
            torch.compiler.reset()
            function = torch.compile(run, dynamic=False, mode=self.compiled)
        call = make_calls(function, inputs, upstream).of(which)
        return Captured(call) if self.captured else call


class Layer(Contender):
    """A whole layer as it is called in training or, forward, in evaluation; its input is as wide as it is itself.

    Unlike the recurrence it multiplies its input by weights, and finds the input's gradient.
    """

    scope = "layer"

    def __init__(self, name: str, build: Callable[[int], nn.Module], *, tf32: bool = False) -> None:
        self.name = name
        self.build = build
        self.tf32 = tf32

    def prepare(self, point: Point, which: Pass, machine: Machine) -> Call:
        torch.manual_seed(0)
        layer = self.build(point.hidden_size).to(machine.device).train(which == "forward+backward")
        shape = point.batch, point.steps, point.hidden_size
        x = torch.randn(shape, device=machine.device, requires_grad=True)
        upstream = torch.randn(shape, device=machine.device)

        def run(x: Tensor, *parameters: Tensor) -> Tensor:
            out: Tensor = layer(x)[0]
            return out

        return make_calls(run, (x, *layer.parameters()), upstream).of(which)


class Captured:
    """A CUDA graph of a call; calling it replays the graph.

    The call must read and write the same addresses every time: its inputs are its own and stay as long as the graph.
    """

    def __init__(self, call: Call) -> None:
        self._call = call  # keeps the inputs alive
        self._graph = torch.cuda.CUDAGraph()
        side = _side_stream()
        side.wait_stream(torch.cuda.current_stream())
        # The outer context restores the stream even where the capture fails.
        with torch.cuda.stream(side):
            call()  # what is only made at first use, a library's workspace or a kernel, cannot be captured
            with torch.cuda.graph(self._graph, stream=side):
                call()
        torch.cuda.current_stream().wait_stream(side)

    def __call__(self) -> None:
        self._graph.replay()


@cache
def _side_stream() -> torch.cuda.Stream:
    """One for all captures, for libraries keep a workspace for every stream."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def contenders(point: Point, ours: kernels.Backend) -> list[Contender]:
    """Everything that is compared at this size but torch.compile. Of populations, what can run one in one call."""
    attention = Recurrence("eager attention", "attention")
    own = [Recurrence(OURS, ours), Recurrence(OURS_GRAPHED, ours, graphed=True)]
    if point.members > 1:
        return [attention, *own]
    return [
        Recurrence(EAGER, "reference"),
        Recurrence(GRAPHED_EAGER, "reference", graphed=True),
        attention,
        *own,
        Layer(OUR_LAYER, lambda size: FastWeightRNN(size, size, batch_first=True, backend=ours)),
        Layer(CUDNN_LSTM, lambda size: nn.LSTM(size, size, batch_first=True)),
        Layer(CUDNN_LSTM_TF32, lambda size: nn.LSTM(size, size, batch_first=True), tf32=True),
        Layer("cuDNN GRU", lambda size: nn.GRU(size, size, batch_first=True)),
        Layer("cuDNN GRU, TF32", lambda size: nn.GRU(size, size, batch_first=True), tf32=True),
    ]


def compiled_contenders() -> list[Contender]:
    """The eager forms under torch.compile."""
    return [
        Recurrence("explicit A, torch.compile", "reference", compiled="default"),
        Recurrence("attention, torch.compile", "attention", compiled="default"),
        Recurrence("explicit A, torch.compile max-autotune", "reference", compiled="max-autotune"),
        Recurrence("attention, torch.compile max-autotune", "attention", compiled="max-autotune"),
    ]
