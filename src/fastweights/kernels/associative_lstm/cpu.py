"""The associative LSTM's recurrence in the compiled core; README.md beside this file derives its gradients.

`lead` below are the leading dimensions of members; see `Operator`.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.kernels.native import library
from fastweights.kernels.native.calls import blocks, buffer, check_lengths, check_saved, contiguous, members, run_core
from fastweights.kernels.native.operator import Operator
from fastweights.types import AssociativeLSTMState


def associative_lstm(
    z: Float[Tensor, "B T Z"],
    W: Float[Tensor, "Z H"],
    P: Int[Tensor, "copies N"],
    gain: Float[Tensor, " Z"] | None,
    bias: Float[Tensor, " Z"] | None,
    state: AssociativeLSTMState | None,
    lengths: Int[Tensor, " B"] | None,
    *,
    heads: int,
    norm_epsilon: float,
) -> tuple[Float[Tensor, "B T H"], AssociativeLSTMState]:
    """Same arguments and results as the reference."""
    h0, c0 = state or (None, None)
    out, h, c, _ = _operator(z, W, P, gain, bias, h0, c0, lengths, heads, norm_epsilon, torch.is_grad_enabled())
    return out, AssociativeLSTMState(h, c)


def _saved_width(steps: int, hidden: int, heads: int, copies: int, norm: bool) -> int:
    """`AssociativeLSTMSaved::size` of associative_lstm.hpp: numbers for one sequence that the backward pass reads."""
    state, units = hidden * (1 + copies), (1 + 8 * heads) * hidden // 2
    record = state + units + 3 * heads * hidden + (units + 1 if norm else 0)
    return steps * record + state


def _forward(
    z: Tensor,
    weight_hh: Tensor,
    permutations: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    lengths: Tensor | None,
    heads: int,
    norm_epsilon: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """out (*lead, B, T, H), h (*lead, B, H), c (*lead, B, copies, H), and what the backward pass needs if `keep`."""
    z, weight_hh, norm_weight, norm_bias, h0, c0 = contiguous(z, weight_hh, norm_weight, norm_bias, h0, c0)
    permutations, lengths = contiguous(permutations.long(), None if lengths is None else lengths.long())
    low, high = (int(end) for end in permutations.aminmax())
    if low < 0 or 2 * high >= weight_hh.shape[-1]:  # the core would read and write outside its memory
        raise UsageError(f"permutations must hold 0 … {weight_hh.shape[-1] // 2 - 1}, got {low} … {high}")
    check_lengths(lengths, z.shape[-2])
    results = _empty_results(z, weight_hh, permutations, norm_weight, heads, keep)
    out, h, c, saved = results
    tensors = {
        "weight_hh": weight_hh,
        "norm_weight": norm_weight,
        "norm_bias": norm_bias,
        "z": z,
        "permutations": permutations,
        "h0": h0,
        "c0": c0,
        "lengths": lengths,
        "out": out,
        "h_final": h,
        "c_final": c,
        "saved": saved,
    }
    run_core("fw_associative_lstm", "forward", _call(out.shape, heads, permutations, norm_epsilon), tensors)
    return results


def _empty_results(
    z: Tensor, weight_hh: Tensor, permutations: Tensor, norm_weight: Tensor | None, heads: int, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *lead, batch, steps, _ = z.shape
    hidden, copies = weight_hh.shape[-1], permutations.shape[-2]
    saved = _saved_width(steps, hidden, heads, copies, norm_weight is not None)
    return (
        z.new_empty(*lead, batch, steps, hidden),
        z.new_empty(*lead, batch, hidden),
        z.new_empty(*lead, batch, copies, hidden),
        buffer(z, (*lead, blocks(batch, z.dtype)), saved if keep else 0),
    )


def _backward(
    d_out: Tensor | None,
    d_h: Tensor | None,
    d_c: Tensor | None,
    weight_hh: Tensor,
    permutations: Tensor,
    norm_weight: Tensor | None,
    lengths: Tensor | None,
    saved: Tensor,
    heads: int,
    norm_epsilon: float,
    sizes: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of z, W, gain, bias, h(0) and c(0); those of what was not given are empty."""
    batch, steps, _ = sizes
    *lead, rows, hidden = weight_hh.shape
    copies = permutations.shape[-2]
    check_saved(saved, batch, _saved_width(steps, hidden, heads, copies, norm_weight is not None))
    d_out, d_h, d_c, weight_hh, norm_weight, saved = contiguous(d_out, d_h, d_c, weight_hh, norm_weight, saved)
    permutations, lengths = contiguous(permutations.long(), None if lengths is None else lengths.long())
    gradients = _empty_gradients(weight_hh, permutations, norm_weight, sizes)
    d_z, d_W, d_gain, d_bias, d_h0, d_c0 = gradients
    by_block = (*lead, blocks(batch, saved.dtype))
    tensors = {
        "weight_hh": weight_hh,
        "norm_weight": norm_weight,
        "permutations": permutations,
        "lengths": lengths,
        "saved": saved,
        "d_out": d_out,
        "d_h_final": d_h,
        "d_c_final": d_c,
        "d_z": d_z,
        "d_h0": d_h0,
        "d_c0": d_c0,
        "d_weight_hh": d_W,
        "d_norm_weight": d_gain,
        "d_norm_bias": d_bias,
        "d_norm": saved.new_empty(*by_block, 2, d_gain.shape[-1]),
        "d_recurrent": buffer(saved, by_block, steps * rows),
    }
    call = _call((*lead, batch, steps, hidden), heads, permutations, norm_epsilon)
    run_core("fw_associative_lstm", "backward", call, tensors)
    return gradients


def _empty_gradients(
    weight_hh: Tensor, permutations: Tensor, norm_weight: Tensor | None, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, steps, has_state = sizes
    *lead, rows, hidden = weight_hh.shape
    normed = rows if norm_weight is not None else 0
    initial = hidden if has_state else 0
    new = weight_hh.new_empty
    return (
        new(*lead, batch, steps, rows),
        new(weight_hh.shape),
        new(*lead, normed),
        new(*lead, normed),
        new(*lead, batch, initial),
        new(*lead, batch, permutations.shape[-2], initial),
    )


def _call(shape: tuple[int, ...], heads: int, permutations: Tensor, norm_epsilon: float) -> library.AssociativeLSTMCall:
    *lead, batch, steps, hidden = shape
    return library.AssociativeLSTMCall(
        members=members(lead),
        batch=batch,
        steps=steps,
        hidden=hidden,
        heads=heads,
        copies=permutations.shape[-2],
        threads=torch.get_num_threads(),
        norm_epsilon=norm_epsilon,
    )


def _remember(inputs: tuple[Any, ...], results: tuple[Tensor, ...]) -> tuple[list[Tensor | None], Any]:
    z, weight_hh, permutations, norm_weight, _, h0, _, lengths, heads, norm_epsilon, _ = inputs
    sizes = [z.shape[-3], z.shape[-2], int(h0 is not None)]
    return [weight_hh, permutations, norm_weight, lengths, results[3]], (heads, norm_epsilon, sizes)


def _gradients(
    backward: Callable[..., Any], saved: tuple[Any, ...], settings: Any, upstream: tuple[Any, ...]
) -> tuple[Any, ...]:
    *_, sizes = settings
    d_z, d_W, d_gain, d_bias, d_h0, d_c0 = backward(*upstream[:3], *saved, *settings)
    d_norm = (None, None) if saved[2] is None else (d_gain, d_bias)
    d_state = (d_h0, d_c0) if sizes[2] else (None, None)
    return d_z, d_W, None, *d_norm, *d_state, None, None, None, None


_operator = Operator(
    "associative_lstm",
    forward=_forward,
    empty_results=lambda z, weight_hh, permutations, norm_weight, bias, h0, c0, lengths, heads, epsilon, keep: (
        _empty_results(z, weight_hh, permutations, norm_weight, heads, keep)
    ),
    backward=_backward,
    empty_gradients=lambda d_out, d_h, d_c, weight_hh, permutations, norm_weight, *rest: _empty_gradients(
        weight_hh, permutations, norm_weight, rest[-1]
    ),
    remember=_remember,
    gradients=_gradients,
)
