"""The LSTM's recurrence in the compiled core. `lead` below are the leading dimensions of members; see `Operator`."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastweights.kernels.lstm.norm import LSTMNorm
from fastweights.kernels.native import library
from fastweights.kernels.native.calls import blocks, buffer, check_lengths, check_saved, contiguous, members, run_core
from fastweights.kernels.native.operator import Operator
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
    out, h, c, _ = _operator(*tensors, norm_epsilon, torch.is_grad_enabled())
    return out, LSTMState(h, c)


def _saved_width(steps: int, hidden: int, norm: bool) -> int:
    """`LSTMSaved::size` of lstm.hpp: numbers for one sequence that the backward pass reads."""
    record = 7 * hidden + (5 * hidden + 2 if norm else 0)
    return steps * record + 2 * hidden


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
    """out (*lead, B, T, H), h and c (*lead, B, H), and what the backward pass needs if `keep`."""
    z, weight_hh, hh_weight, hh_bias = contiguous(z, weight_hh, hh_weight, hh_bias)
    cell_weight, cell_bias, h0, c0 = contiguous(cell_weight, cell_bias, h0, c0)
    (lengths,) = contiguous(None if lengths is None else lengths.long())
    check_lengths(lengths, z.shape[-2])
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
    run_core("fw_lstm", "forward", _call(out.shape, norm_epsilon), tensors)
    return results


def _empty_results(
    z: Tensor, weight_hh: Tensor, hh_weight: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *lead, batch, steps, _ = z.shape
    hidden = weight_hh.shape[-1]
    saved = _saved_width(steps, hidden, hh_weight is not None)
    return (
        z.new_empty(*lead, batch, steps, hidden),
        z.new_empty(*lead, batch, hidden),
        z.new_empty(*lead, batch, hidden),
        buffer(z, (*lead, blocks(batch, z.dtype)), saved if keep else 0),
    )


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
    batch, steps, _ = sizes
    *lead, rows, hidden = weight_hh.shape
    check_saved(saved, batch, _saved_width(steps, hidden, hh_weight is not None))
    d_out, d_h, d_c, weight_hh = contiguous(d_out, d_h, d_c, weight_hh)
    hh_weight, cell_weight, saved = contiguous(hh_weight, cell_weight, saved)
    (lengths,) = contiguous(None if lengths is None else lengths.long())
    gradients = _empty_gradients(weight_hh, hh_weight, sizes)
    d_z, d_W, d_gain, d_bias, d_cell_gain, d_cell_bias, d_h0, d_c0 = gradients
    by_block = (*lead, blocks(batch, saved.dtype))
    tensors = {
        "weight_hh": weight_hh,
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
        "d_hh_weight": d_gain,
        "d_hh_bias": d_bias,
        "d_cell_weight": d_cell_gain,
        "d_cell_bias": d_cell_bias,
        "d_norm": saved.new_empty(*by_block, 2, d_gain.shape[-1]),
        "d_cell_norm": saved.new_empty(*by_block, 2, d_cell_gain.shape[-1]),
        "d_recurrent": buffer(saved, by_block, steps * rows),
    }
    run_core("fw_lstm", "backward", _call((*lead, batch, steps, hidden), norm_epsilon), tensors)
    return gradients


def _empty_gradients(
    weight_hh: Tensor, hh_weight: Tensor | None, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, steps, has_state = sizes
    *lead, rows, hidden = weight_hh.shape
    normed_rows, normed_cell = (rows, hidden) if hh_weight is not None else (0, 0)
    initial = hidden if has_state else 0
    new = weight_hh.new_empty
    return (
        new(*lead, batch, steps, rows),
        new(weight_hh.shape),
        new(*lead, normed_rows),
        new(*lead, normed_rows),
        new(*lead, normed_cell),
        new(*lead, normed_cell),
        new(*lead, batch, initial),
        new(*lead, batch, initial),
    )


def _call(shape: tuple[int, ...], norm_epsilon: float) -> library.LSTMCall:
    *lead, batch, steps, hidden = shape
    return library.LSTMCall(
        members=members(lead),
        batch=batch,
        steps=steps,
        hidden=hidden,
        threads=torch.get_num_threads(),
        norm_epsilon=norm_epsilon,
    )


def _remember(inputs: tuple[Any, ...], results: tuple[Tensor, ...]) -> tuple[list[Tensor | None], Any]:
    z, weight_hh, hh_weight, _, cell_weight, _, h0, _, lengths, norm_epsilon, _ = inputs
    sizes = [z.shape[-3], z.shape[-2], int(h0 is not None)]
    return [weight_hh, hh_weight, cell_weight, lengths, results[3]], (norm_epsilon, sizes)


def _gradients(
    backward: Callable[..., Any], saved: tuple[Any, ...], settings: Any, upstream: tuple[Any, ...]
) -> tuple[Any, ...]:
    _, sizes = settings
    d_z, d_W, *d_norm, d_h0, d_c0 = backward(*upstream[:3], *saved, *settings)
    if saved[1] is None:
        d_norm = [None] * 4
    d_state = (d_h0, d_c0) if sizes[2] else (None, None)
    return d_z, d_W, *d_norm, *d_state, None, None, None


_operator = Operator(
    "lstm",
    forward=_forward,
    empty_results=lambda z, weight_hh, hh_weight, *rest: _empty_results(z, weight_hh, hh_weight, rest[-1]),
    backward=_backward,
    empty_gradients=lambda d_out, d_h, d_c, weight_hh, hh_weight, *rest: _empty_gradients(
        weight_hh, hh_weight, rest[-1]
    ),
    remember=_remember,
    gradients=_gradients,
)
