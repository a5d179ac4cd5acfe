"""The fast-weight recurrence in the compiled core: short sequences as attention, long ones in chunks over A.

README.md beside this file derives both. `lead` below are the leading dimensions of members; see `Operator`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastweights.kernels.fast_weights.call import Gradients, empty_gradients
from fastweights.kernels.native import library
from fastweights.kernels.native.calls import blocks, buffer, check_lengths, check_saved, contiguous, members, run_core

_CHUNK = 32
_SPACING = 8


def missing() -> str | None:
    """Why this backend is not there, or None."""
    return library.missing()


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


def forward(
    z: Tensor,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    h0: Tensor | None,
    A0: Tensor | None,
    lengths: Tensor | None,
    settings: Tensor | None,
    numbers: list[float],
    integers: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """out (*lead, B, T, H), h (*lead, B, H), A (*lead, B, H, H), and what the backward pass needs."""
    z, weight_hh, norm_weight, norm_bias, h0, A0 = contiguous(z, weight_hh, norm_weight, norm_bias, h0, A0)
    lengths, settings = contiguous(
        None if lengths is None else lengths.long(), _settings(settings, numbers, z.shape[:-3])
    )
    check_lengths(lengths, z.shape[-2])
    results = empty_results(z, norm_weight, A0, integers)
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


def _settings(settings: Tensor | None, numbers: list[float], lead: Sequence[int]) -> Tensor:
    """λ, η and ε of every member, in the core's number type."""
    return torch.tensor(numbers, dtype=torch.float64).expand(*lead, 3) if settings is None else settings


def empty_results(
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


def backward(
    d_out: Tensor | None,
    d_h: Tensor | None,
    d_A: Tensor | None,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    lengths: Tensor | None,
    settings: Tensor | None,
    saved: Tensor,
    checkpoints: Tensor,
    numbers: list[float],
    integers: list[int],
    sizes: list[int],
) -> Gradients:
    """Gradients of z, W, gain, bias, h(0) and A(0); those of what was not given are empty."""
    batch, steps, _, has_A0 = sizes
    *lead, hidden, _ = weight_hh.shape
    normed = norm_weight is not None
    check_saved(saved, batch, _saved_width(steps, hidden, integers[0], normed))
    d_out, d_h, d_A, weight_hh, norm_weight, norm_bias = contiguous(d_out, d_h, d_A, weight_hh, norm_weight, norm_bias)
    lengths = None if lengths is None else lengths.long()
    settings = _settings(settings, numbers, lead)
    lengths, settings, saved, checkpoints = contiguous(lengths, settings, saved, checkpoints)
    gradients = empty_gradients(weight_hh, norm_weight, sizes)
    d_z, d_W, d_gain, d_bias, d_h0, d_A0 = gradients
    by_block = (*lead, blocks(batch, saved.dtype))
    tensors = {
        "settings": settings,
        "weight_hh": weight_hh,
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
