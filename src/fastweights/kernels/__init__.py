"""The recurrences as pure functions, and the backends that run them."""

from fastweights.kernels.dispatch import Backend, fast_weights, irnn, lstm
from fastweights.kernels.lstm.norm import LSTMNorm

__all__ = ["Backend", "LSTMNorm", "fast_weights", "irnn", "lstm"]
