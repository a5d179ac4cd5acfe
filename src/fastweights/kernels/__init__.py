"""The recurrences as pure functions, and the backends that run them."""

from fastweights.kernels.dispatch import (
    Backend,
    PlainBackend,
    associative_lstm,
    fast_weights,
    irnn,
    lstm,
    missing_backends,
)
from fastweights.kernels.lstm.norm import LSTMNorm
from fastweights.kernels.native.library import fma_peak_gflops

__all__ = [
    "Backend",
    "LSTMNorm",
    "PlainBackend",
    "associative_lstm",
    "fast_weights",
    "fma_peak_gflops",
    "irnn",
    "lstm",
    "missing_backends",
]
