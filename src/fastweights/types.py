"""Shapes, names and carried states that the whole package shares.

Shape letters (used in jaxtyping annotations and docstrings):

    B  batch: independent sequences
    T  time: steps of a sequence
    I  input features of a step
    H  hidden units (the paper's R recurrent units)

Glossary, paper symbol ↔ code name (Ba et al. 2016, arXiv 1610.06258):

    W          weight_hh            slow recurrent weights (H, H)
    C          weight_ih            slow input weights (H, I)
    A(t)       fast_weights         fast weight matrix (H, H), one for every sequence
    λ          decay                what A keeps from one step to the next
    η          fast_learning_rate   how strongly A(t) stores h(t)
    S          inner_steps          iterations of the inner loop between two time steps
    h_s(t+1)   —                    hidden vector of inner iteration s; h(t+1) = h_S(t+1)
    W h + C x  boundary             the sustained boundary condition of the inner loop
    C x + b    z                    the input product, computed for all steps at once
    g, b (LN)  norm_weight, norm_bias
    R          hidden_size          recurrent units
    K          num_pairs            key-value pairs in an associative-retrieval sequence
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class RNNState(NamedTuple):
    """What a plain recurrent layer carries: `h`, (B, H)."""

    h: Tensor


class FastWeightState(NamedTuple):
    """What a fast-weight layer carries after step t.

    `h` is h(t), (B, H). `fast_weights` is A(t) of eq. 1, (B, H, H), with h(t) already stored in it: step t + 1 reads it
    as it is.
    """

    h: Tensor
    fast_weights: Tensor


class LSTMState(NamedTuple):
    """What an LSTM carries: hidden vector `h` and cell `c`, each (B, H)."""

    h: Tensor
    c: Tensor


class AssociativeLSTMState(NamedTuple):
    """What an associative LSTM carries.

    `h` is (B, H) and `c`, the redundant memory copies, (B, copies, H). The first H/2 entries of the last dimension are
    real parts, the last H/2 imaginary parts.
    """

    h: Tensor
    c: Tensor


class TapState(NamedTuple):
    """What a tapped delay line or a gamma memory carries.

    `h` is (B, H), which no later step reads, and `taps`, the memory, (B, taps, I).
    """

    h: Tensor
    taps: Tensor
