"""The fast-weight recurrence in the compiled core: short sequences as attention, long ones in chunks over A.

README.md beside this file derives both. `lead` below are the leading dimensions of members; see `Operator`.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastweights.kernels.activations import Activation
from fastweights.kernels.native import library
from fastweights.kernels.native.calls import blocks, buffer, check_lengths, check_saved, contiguous, members, run_core
from fastweights.kernels.native.operator import Operator
from fastweights.types import FastWeightState

_CHUNK = 32
_SPACING = 8


def missing() -> str | None:
    """Why this backend is not there, or None."""
    return library.missing()


def fast_weights(
    z: Float[Tensor, "B T H"],
    weight_hh: Float[Tensor, "H H"],
    norm_weight: Float[Tensor, " H"] | None,
    norm_bias: Float[Tensor, " H"] | None,
    state: FastWeightState | None,
    lengths: Int[Tensor, " B"] | None,
    *,
    decay: float | Tensor,
    fast_learning_rate: float | Tensor,
    inner_steps: int,
    activation: Activation,
    norm_epsilon: float,
    final_fast_weights: bool,
) -> tuple[Float[Tensor, "B T H"], FastWeightState]:
    """Same arguments and results as the reference."""
    h0, A0 = state or (None, None)
    stores = isinstance(fast_learning_rate, Tensor) or fast_learning_rate != 0
    integers = [inner_steps, int(activation == "tanh"), int(final_fast_weights), int(stores)]
    settings = _together(decay, fast_learning_rate, norm_epsilon)
    out, h, A = run(z, weight_hh, norm_weight, norm_bias, h0, A0, lengths, settings, integers)
    return out, FastWeightState(h, A)


def run(
    z: Tensor,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    h0: Tensor | None,
    A0: Tensor | None,
    lengths: Tensor | None,
    settings: Tensor,
    integers: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """out, h and A, given λ, η, ε, then S, whether f is tanh, whether A is wanted and whether η may not be 0."""
    integers = [*integers, int(torch.is_grad_enabled())]
    out, h, A, _, _ = _operator(z, weight_hh, norm_weight, norm_bias, h0, A0, lengths, settings, integers)
    return out, h, A


def _together(*values: float | Tensor) -> Tensor:
    """λ, η and ε in the core's number type; members of a population may each have their own."""
    if not any(isinstance(value, Tensor) for value in values):
        return torch.tensor(values, dtype=torch.float64)
    wide = torch.float64
    return torch.stack([v.to(wide) if isinstance(v, Tensor) else torch.tensor(v, dtype=wide) for v in values])


def _chunk(steps: int, hidden: int) -> int:
    """Steps between two updates of an explicit A.

    Attention over all T steps costs about 2TR a step, chunks over an explicit A 4R² + 2cR.
    """
    return steps if steps <= 2 * hidden + _CHUNK else _CHUNK


def _checkpoints(steps: int, hidden: int, stores: int, has_A0: bool) -> int:
    """How many copies of A the forward pass keeps: one in `_SPACING` chunks, none where A is zero as they begin."""
    chunks = -(-steps // _chunk(steps, hidden))
    if not has_A0 and (chunks == 1 or not stores):
        return 0
    return -(-chunks // _SPACING)


def _saved_width(steps: int, hidden: int, inner_steps: int, norm: bool) -> int:
    """`Saved::size` of fast_weights.hpp: numbers for one sequence that the backward pass reads."""
    record = hidden + inner_steps * hidden + (inner_steps * (hidden + 1) if norm else 0)
    return steps * record + hidden


def _forward(
    z: Tensor,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    h0: Tensor | None,
    A0: Tensor | None,
    lengths: Tensor | None,
    settings: Tensor,
    integers: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """out (*lead, B, T, H), h (*lead, B, H), A (*lead, B, H, H), and what the backward pass needs."""
    z, weight_hh, norm_weight, norm_bias, h0, A0 = contiguous(z, weight_hh, norm_weight, norm_bias, h0, A0)
    lengths, settings = contiguous(None if lengths is None else lengths.long(), settings)
    check_lengths(lengths, z.shape[-2])
    results = _empty_results(z, norm_weight, A0, integers)
    out, h, A, saved, checkpoints = results
    tensors = {
        "settings": settings,
        "weight_hh": weight_hh,
        "norm_weight": norm_weight,
        "norm_bias": norm_bias,
        "z": z,
        "h0": h0,
        "A0": A0,
        "lengths": lengths,
        "out": out,
        "h_final": h,
        "A_final": A,
        "saved": saved,
        "checkpoints": checkpoints,
    }
    run_core("fw_fast_weights", "forward", _call(z.shape, integers), tensors)
    return results


def _empty_results(
    z: Tensor, norm_weight: Tensor | None, A0: Tensor | None, integers: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    *lead, batch, steps, hidden = z.shape
    inner_steps, _, final, stores, keep = integers
    size = hidden if final else 0
    by_block = (*lead, blocks(batch, z.dtype))
    saved = _saved_width(steps, hidden, inner_steps, norm_weight is not None)
    checkpoints = _checkpoints(steps, hidden, stores, A0 is not None) * hidden * hidden
    return (
        z.new_empty(z.shape),
        z.new_empty(*lead, batch, hidden),
        z.new_empty(*lead, batch, size, size),
        buffer(z, by_block, saved if keep else 0),
        buffer(z, by_block, checkpoints if keep else 0),
    )


def _backward(
    d_out: Tensor | None,
    d_h: Tensor | None,
    d_A: Tensor | None,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    lengths: Tensor | None,
    settings: Tensor,
    saved: Tensor,
    checkpoints: Tensor,
    integers: list[int],
    sizes: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of z, W, gain, bias, h(0) and A(0); those of what was not given are empty."""
    batch, steps, _, has_A0 = sizes
    *lead, hidden, _ = weight_hh.shape
    normed = norm_weight is not None
    check_saved(saved, batch, _saved_width(steps, hidden, integers[0], normed))
    d_out, d_h, d_A, weight_hh, norm_weight, norm_bias = contiguous(d_out, d_h, d_A, weight_hh, norm_weight, norm_bias)
    lengths = None if lengths is None else lengths.long()
    lengths, settings, saved, checkpoints = contiguous(lengths, settings, saved, checkpoints)
    gradients = _empty_gradients(weight_hh, norm_weight, sizes)
    d_z, d_W, d_gain, d_bias, d_h0, d_A0 = gradients
    by_block = (*lead, blocks(batch, saved.dtype))
    tensors = {
        "settings": settings,
        "weight_hh": weight_hh,
        "weight_hh_transposed": weight_hh.mT.contiguous(),
        "norm_weight": norm_weight,
        "norm_bias": norm_bias,
        "A0": checkpoints if has_A0 else None,
        "lengths": lengths,
        "saved": saved,
        "checkpoints": checkpoints,
        "d_out": d_out,
        "d_h_final": d_h,
        "d_A_final": d_A,
        "d_z": d_z,
        "d_h0": d_h0,
        "d_A0": d_A0,
        "d_weight_hh": d_W,
        "d_norm_weight": d_gain,
        "d_norm_bias": d_bias,
        "d_norm": saved.new_empty(*by_block, 2, d_gain.shape[-1]),
        "d_boundary": buffer(saved, by_block, steps * hidden),
    }
    run_core("fw_fast_weights", "backward", _call(d_z.shape, integers), tensors)
    return gradients


def _empty_gradients(
    weight_hh: Tensor, norm_weight: Tensor | None, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, steps, has_h0, has_A0 = sizes
    *lead, hidden, _ = weight_hh.shape
    normed = hidden if norm_weight is not None else 0
    initial, matrix = (hidden if has_h0 else 0), (hidden if has_A0 else 0)
    new = weight_hh.new_empty
    return (
        new(*lead, batch, steps, hidden),
        new(weight_hh.shape),
        new(*lead, normed),
        new(*lead, normed),
        new(*lead, batch, initial),
        new(*lead, batch, matrix, matrix),
    )


def _call(shape: tuple[int, ...], integers: list[int]) -> library.FastWeightsCall:
    *lead, batch, steps, hidden = shape
    return library.FastWeightsCall(
        members=members(lead),
        batch=batch,
        steps=steps,
        hidden=hidden,
        threads=torch.get_num_threads(),
        inner_steps=integers[0],
        chunk=_chunk(steps, hidden),
        spacing=_SPACING,
        tanh=integers[1],
        stores=integers[3],
    )


def _remember(inputs: tuple[Any, ...], results: tuple[Tensor, ...]) -> tuple[list[Tensor | None], Any]:
    z, weight_hh, norm_weight, norm_bias, h0, A0, lengths, settings, integers = inputs
    sizes = [z.shape[-3], z.shape[-2], int(h0 is not None), int(A0 is not None)]
    return [weight_hh, norm_weight, norm_bias, lengths, settings, *results[3:]], (integers, sizes)


def _gradients(
    backward: Callable[..., Any], saved: tuple[Any, ...], settings: Any, upstream: tuple[Any, ...]
) -> tuple[Any, ...]:
    integers, sizes = settings
    d_out, d_h, d_A, _, _ = upstream
    wants_A = integers[2]
    d_z, d_W, d_gain, d_bias, d_h0, d_A0 = backward(d_out, d_h, d_A if wants_A else None, *saved, *settings)
    normed = saved[1] is not None
    return (
        *(d_z, d_W, d_gain if normed else None, d_bias if normed else None),
        *(d_h0 if sizes[2] else None, d_A0 if sizes[3] else None, None, None, None),
    )


_operator = Operator(
    "fast_weights",
    forward=_forward,
    empty_results=lambda z, weight_hh, norm_weight, norm_bias, h0, A0, lengths, settings, integers: _empty_results(
        z, norm_weight, A0, integers
    ),
    backward=_backward,
    empty_gradients=lambda d_out, d_h, d_A, weight_hh, norm_weight, *rest: _empty_gradients(
        weight_hh, norm_weight, rest[-1]
    ),
    remember=_remember,
    gradients=_gradients,
)
