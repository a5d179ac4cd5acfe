"""The recurrent kernels as steps of one sequence's state, the form in which `fastweights.dynamics` takes them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights import kernels
from fastweights.dynamics import spectral_radius
from fastweights.dynamics.gradient_flow import State, StateStep
from fastweights.dynamics.maps import DrivenStep
from fastweights.dynamics.memory_paths import CellStep
from fastweights.kernels.activations import Activation
from fastweights.types import FastWeightState, LSTMState, RNNState


def random_weights(size: int, radius: float, generator: torch.Generator) -> Float[Tensor, "H H"]:
    """A matrix of independent normal entries, scaled to the spectral radius `radius`: far from a normal matrix."""
    W = torch.randn(size, size, dtype=torch.float64, generator=generator)
    return W * (radius / spectral_radius(W))


def irnn_step(W: Float[Tensor, "H H"]) -> DrivenStep:
    """h ← ReLU(W h + z)."""

    def step(h: Tensor, z: Tensor) -> Tensor:
        return kernels.irnn(z[None, None], W, state=RNNState(h[None]), backend="reference")[1].h[0]

    return step


def lstm_step(W: Float[Tensor, "G H"]) -> CellStep:
    """(h, c) after one step of the LSTM on the input product z, gates in the order i, f, g, o."""

    def step(h: Tensor, c: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        _, after = kernels.lstm(z[None, None], W, state=LSTMState(h[None], c[None]), backend="reference")
        return after.h[0], after.c[0]

    return step


def fast_weight_step(
    W: Float[Tensor, "H H"],
    *,
    decay: float = 0.95,
    fast_learning_rate: float = 0.5,
    inner_steps: int = 1,
    activation: Activation = "relu",
) -> StateStep:
    """(h, A) after one step of eqs. 1 and 5 with the layer norm's gain 1 and bias 0."""
    gain, bias = W.new_ones(len(W)), W.new_zeros(len(W))

    def step(state: State, z: Tensor) -> State:
        h, A = state
        _, after = kernels.fast_weights(
            z[None, None],
            W,
            gain,
            bias,
            decay=decay,
            fast_learning_rate=fast_learning_rate,
            inner_steps=inner_steps,
            activation=activation,
            state=FastWeightState(h[None], A[None]),
            backend="reference",
        )
        return after.h[0], after.fast_weights[0]

    return step
