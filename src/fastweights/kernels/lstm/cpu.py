"""The LSTM's recurrence in the compiled core.

Every tensor of the two operators has a leading dimension of members P, each with weights of its own: one member for a
layer, as many as are stacked under `torch.func.vmap`.
"""

import ctypes
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.kernels.lstm.norm import LSTMNorm
from fastweights.kernels.native import library
from fastweights.kernels.native.calls import blocks, buffer, contiguous, flatten_members, pointer, unflatten_members
from fastweights.types import LSTMState


def lstm(
    z: Float[Tensor, "B T G"],
    weight_hh: Float[Tensor, "G H"],
    norm: LSTMNorm | None,
    state: LSTMState | None,
    lengths: Int[Tensor, " B"] | None,
    *,
    norm_epsilon: float,
) -> tuple[Float[Tensor, "B T H"], LSTMState]:
    """Same arguments and results as the reference."""
    tensors = (z, weight_hh, *(norm or (None,) * 4), *(state or (None, None)), lengths)
    out, h, c, _ = _forward(
        *(None if tensor is None else tensor.unsqueeze(0) for tensor in tensors),
        norm_epsilon,
        torch.is_grad_enabled(),
    )
    return out.squeeze(0), LSTMState(h.squeeze(0), c.squeeze(0))


def _saved_width(steps: int, hidden: int, norm: bool) -> int:
    """`LSTMSaved::size` of lstm.hpp: numbers for one sequence that the backward pass reads."""
    record = 7 * hidden + (5 * hidden + 2 if norm else 0)
    return steps * record + 2 * hidden


def _call(out_shape: torch.Size, norm_epsilon: float) -> library.LSTMCall:
    members, batch, steps, hidden = out_shape
    return library.LSTMCall(
        members=members,
        batch=batch,
        steps=steps,
        hidden=hidden,
        threads=torch.get_num_threads(),
        norm_epsilon=norm_epsilon,
    )


def _run(name: str, backward: bool, call: library.LSTMCall, like: Tensor, tensors: dict[str, Tensor | None]) -> None:
    for field, tensor in tensors.items():
        setattr(call, field, pointer(tensor))
    width = library.function("fw_lstm_scratch", like.dtype)(ctypes.byref(call), ctypes.c_int64(backward))
    scratch = buffer(like, call.threads, width)
    call.scratch = pointer(scratch)
    library.function(name, like.dtype)(ctypes.byref(call))


@torch.library.custom_op("fastweights::lstm_forward", mutates_args=(), device_types="cpu")
def _forward(
    z: Tensor,
    weight_hh: Tensor,
    hh_weight: Tensor | None,
    hh_bias: Tensor | None,
    cell_weight: Tensor | None,
    cell_bias: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    lengths: Tensor | None,
    norm_epsilon: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """out (P, B, T, H), h and c (P, B, H), and what the backward pass needs if `keep`."""
    z, weight_hh, hh_weight, hh_bias = contiguous(z, weight_hh, hh_weight, hh_bias)
    cell_weight, cell_bias, h0, c0 = contiguous(cell_weight, cell_bias, h0, c0)
    (lengths,) = contiguous(None if lengths is None else lengths.long())
    results = _empty_results(z, weight_hh, hh_weight, keep)
    out, h, c, saved = results
    tensors = {
        "weight_hh": weight_hh,
        "hh_weight": hh_weight,
        "hh_bias": hh_bias,
        "cell_weight": cell_weight,
        "cell_bias": cell_bias,
        "z": z,
        "h0": h0,
        "c0": c0,
        "lengths": lengths,
        "out": out,
        "h_final": h,
        "c_final": c,
        "saved": saved,
    }
    _run("fw_lstm_forward", False, _call(out.shape, norm_epsilon), z, tensors)
    return results


@_forward.register_fake
def _(
    z: Tensor,
    weight_hh: Tensor,
    hh_weight: Tensor | None,
    hh_bias: Tensor | None,
    cell_weight: Tensor | None,
    cell_bias: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    lengths: Tensor | None,
    norm_epsilon: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _empty_results(z, weight_hh, hh_weight, keep)


def _empty_results(
    z: Tensor, weight_hh: Tensor, hh_weight: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    members, batch, steps, _ = z.shape
    hidden = weight_hh.shape[2]
    return (
        z.new_empty(members, batch, steps, hidden),
        z.new_empty(members, batch, hidden),
        z.new_empty(members, batch, hidden),
        buffer(z, blocks(z), _saved_width(steps, hidden, hh_weight is not None) if keep else 0),
    )


@torch.library.custom_op("fastweights::lstm_backward", mutates_args=(), device_types="cpu")
def _backward(
    d_out: Tensor | None,
    d_h: Tensor | None,
    d_c: Tensor | None,
    weight_hh: Tensor,
    hh_weight: Tensor | None,
    cell_weight: Tensor | None,
    lengths: Tensor | None,
    saved: Tensor,
    norm_epsilon: float,
    sizes: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of z, W, the gains and biases, h(0) and c(0); those of what was not given are empty."""
    if saved.numel() == 0:
        raise UsageError("the forward pass ran under torch.no_grad() and kept nothing to differentiate")
    d_out, d_h, d_c, weight_hh = contiguous(d_out, d_h, d_c, weight_hh)
    hh_weight, cell_weight, saved = contiguous(hh_weight, cell_weight, saved)
    (lengths,) = contiguous(None if lengths is None else lengths.long())
    members, rows, hidden = weight_hh.shape
    batch, steps, _ = sizes
    d_z, d_W, *_, d_h0, d_c0 = _empty_gradients(weight_hh, hh_weight, sizes)
    count = blocks(d_z)
    d_norm = saved.new_empty(members, count // members, 2, rows if hh_weight is not None else 0)
    d_cell_norm = saved.new_empty(members, count // members, 2, hidden if hh_weight is not None else 0)
    tensors = {
        "weight_hh": weight_hh,
        "weight_hh_transposed": weight_hh.mT.contiguous(),
        "hh_weight": hh_weight,
        "cell_weight": cell_weight,
        "lengths": lengths,
        "saved": saved,
        "d_out": d_out,
        "d_h_final": d_h,
        "d_c_final": d_c,
        "d_z": d_z,
        "d_h0": d_h0,
        "d_c0": d_c0,
        "d_weight_hh": d_W,
        "d_norm": d_norm,
        "d_cell_norm": d_cell_norm,
        "d_recurrent": buffer(saved, count, steps * rows),
    }
    _run("fw_lstm_backward", True, _call(torch.Size((members, batch, steps, hidden)), norm_epsilon), saved, tensors)
    d_gain, d_bias = d_norm[:, :, 0].sum(1), d_norm[:, :, 1].sum(1)
    d_cell_gain, d_cell_bias = d_cell_norm[:, :, 0].sum(1), d_cell_norm[:, :, 1].sum(1)
    return d_z, d_W, d_gain, d_bias, d_cell_gain, d_cell_bias, d_h0, d_c0


@_backward.register_fake
def _(
    d_out: Tensor | None,
    d_h: Tensor | None,
    d_c: Tensor | None,
    weight_hh: Tensor,
    hh_weight: Tensor | None,
    cell_weight: Tensor | None,
    lengths: Tensor | None,
    saved: Tensor,
    norm_epsilon: float,
    sizes: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _empty_gradients(weight_hh, hh_weight, sizes)


def _empty_gradients(
    weight_hh: Tensor, hh_weight: Tensor | None, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, steps, has_state = sizes
    members, rows, hidden = weight_hh.shape
    normed_rows, normed_cell = (rows, hidden) if hh_weight is not None else (0, 0)
    initial = hidden if has_state else 0
    new = weight_hh.new_empty
    return (
        new(members, batch, steps, rows),
        new(members, rows, hidden),
        new(members, normed_rows),
        new(members, normed_rows),
        new(members, normed_cell),
        new(members, normed_cell),
        new(members, batch, initial),
        new(members, batch, initial),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    z, weight_hh, hh_weight, _, cell_weight, _, h0, _, lengths, norm_epsilon, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(weight_hh, hh_weight, cell_weight, lengths, output[3])
    ctx.settings = norm_epsilon, [z.shape[1], z.shape[2], int(h0 is not None)]


def _gradients(ctx: Any, d_out: Any, d_h: Any, d_c: Any, d_saved: Any) -> tuple[Any, ...]:
    norm_epsilon, sizes = ctx.settings
    d_z, d_W, *d_norm, d_h0, d_c0 = _backward(d_out, d_h, d_c, *ctx.saved_tensors, norm_epsilon, sizes)
    if ctx.saved_tensors[1] is None:
        d_norm = [None] * 4
    d_state = (d_h0, d_c0) if sizes[2] else (None, None)
    return d_z, d_W, *d_norm, *d_state, None, None, None


def _no_second_derivative(ctx: Any, *gradients: Any) -> None:
    raise UsageError('backend "cpu" has no second derivatives; use backend="reference" for them')


_forward.register_autograd(_gradients, setup_context=_setup_context)
_backward.register_autograd(_no_second_derivative)


@_forward.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
    flat = flatten_members(info.batch_size, in_dims, arguments)
    return unflatten_members(info.batch_size, _forward(*flat))


@_backward.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
    flat = flatten_members(info.batch_size, in_dims, arguments)
    return unflatten_members(info.batch_size, _backward(*flat))
