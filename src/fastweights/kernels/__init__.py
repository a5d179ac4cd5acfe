"""The recurrences as pure functions, and the backends that run them."""

from fastweights.kernels.dispatch import Backend, associative_lstm, fast_weights, irnn, lstm
from fastweights.kernels.lstm.norm import LSTMNorm

__all__ = ["Backend", "LSTMNorm", "associative_lstm", "fast_weights", "irnn", "lstm"]
