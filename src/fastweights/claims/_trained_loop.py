"""The inner loop of a trained network: how far it is from contracting, at every step of its test sequences."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn.functional import embedding

from fastweights.cells.fast_weights import FastWeightRNN
from fastweights.dynamics import Contraction, contraction
from fastweights.errors import RunError, UsageError
from fastweights.kernels.activations import activation_function
from fastweights.training import checkpoint
from fastweights.training.loop import build_model, build_task, on_device
from fastweights.training.records import RunDirectory
from fastweights.types import FastWeightState


@torch.no_grad()
def contraction_along_run(run: RunDirectory, sequences: int) -> Contraction:
    """The bounds of `dynamics.contraction` in the last inner step, with a run's best weights.

    Every field is (N T,): the T steps of the first of N = `sequences` test sequences, then those of the next.

    Raises:
        UsageError: the run's cell has no fast weights, or no layer norm.
        RunError: the run has no evaluated weights yet, or they cannot be read.
    """
    config = on_device(run.config(), "cpu")
    model = build_model(config)
    cell = model.cell
    if not isinstance(cell, FastWeightRNN) or cell.norm is None:
        raise UsageError(f"{run.path} trains {config.cell}; an inner loop with layer norm needs the cell fast_weights")
    saved = checkpoint.load(run.path)
    if saved is None or saved.best is None:
        raise RunError(
            f"{run.path} has no evaluated weights yet; train it for {config.evaluate_every} updates at least"
        )
    model.load_state_dict(saved.best)
    tokens = build_task(config).split("test", config.test_size, config.data_seed).tokens[:sequences]
    z = embedding(torch.from_numpy(tokens).int(), cell.project(model.token_inputs()))
    fast_weights, sums = inner_loop_points(cell, z)
    return contraction(
        fast_weights.flatten(0, 1),
        sums.flatten(0, 1),
        cell.norm.weight,
        cell.norm.bias,
        activation_function(cell.activation),
        norm_epsilon=cell.norm.eps,
    )


def inner_loop_points(cell: FastWeightRNN, z: Tensor) -> tuple[Tensor, Tensor]:
    """A(t) and the argument of layer norm in the last inner step, at each step of z, (B, T, H)."""
    batch, _, hidden = z.shape
    f = activation_function(cell.activation)
    one_step_less = copy.copy(cell)  # shares the parameters
    one_step_less.inner_steps = cell.inner_steps - 1
    state = FastWeightState(z.new_zeros(batch, hidden), z.new_zeros(batch, hidden, hidden))
    fast_weights, sums = [], []
    for t in range(z.shape[1]):
        z_t = z[:, t : t + 1]
        boundary = z[:, t] + state.h @ cell.weight_hh.T
        h_0 = f(cell.norm(boundary) if cell.boundary_norm and cell.norm is not None else boundary)
        query = h_0 if cell.inner_steps == 1 else one_step_less.scan(z_t, state)[1].h  # h_{S−1}
        fast_weights.append(state.fast_weights)
        sums.append(boundary + (state.fast_weights @ query.unsqueeze(2)).squeeze(2))
        state = cell.scan(z_t, state)[1]
    return torch.stack(fast_weights, dim=1), torch.stack(sums, dim=1)
