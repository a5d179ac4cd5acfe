"""Fast-weight memory in recurrent networks: layers, the experiments of Ba et al. (2016), and their theory as programs.

Names are imported on first use, so that the command line answers without waiting for torch.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING

__version__ = version("fastweights")

if TYPE_CHECKING:
    from fastweights import dynamics, kernels, memories, tasks
    from fastweights.cells.associative_lstm import AssociativeLSTM
    from fastweights.cells.fast_weights import FastWeightRNN
    from fastweights.cells.gamma_memory import GammaMemory
    from fastweights.cells.irnn import IRNN
    from fastweights.cells.lstm import LSTM
    from fastweights.cells.tapped_delay import TappedDelayLine
    from fastweights.errors import RunError, UsageError
    from fastweights.types import AssociativeLSTMState, FastWeightState, LSTMState, RNNState, TapState

_HOME = {
    "FastWeightRNN": "fastweights.cells.fast_weights",
    "GammaMemory": "fastweights.cells.gamma_memory",
    "IRNN": "fastweights.cells.irnn",
    "LSTM": "fastweights.cells.lstm",
    "AssociativeLSTM": "fastweights.cells.associative_lstm",
    "TappedDelayLine": "fastweights.cells.tapped_delay",
    "FastWeightState": "fastweights.types",
    "RNNState": "fastweights.types",
    "LSTMState": "fastweights.types",
    "AssociativeLSTMState": "fastweights.types",
    "TapState": "fastweights.types",
    "UsageError": "fastweights.errors",
    "RunError": "fastweights.errors",
}
_MODULES = ("dynamics", "kernels", "memories", "tasks")

__all__ = [
    "IRNN",
    "LSTM",
    "AssociativeLSTM",
    "AssociativeLSTMState",
    "FastWeightRNN",
    "FastWeightState",
    "GammaMemory",
    "LSTMState",
    "RNNState",
    "RunError",
    "TapState",
    "TappedDelayLine",
    "UsageError",
    "__version__",
    "dynamics",
    "kernels",
    "memories",
    "tasks",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        value: object = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
