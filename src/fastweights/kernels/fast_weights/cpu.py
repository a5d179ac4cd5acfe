"""The fast-weight recurrence in the compiled core: short sequences as attention, long ones in chunks over A.

README.md beside this file derives both. Every tensor of the two operators has a leading dimension of members P, each
with weights of its own: one member for a layer, as many as are stacked under `torch.func.vmap`.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.kernels.activations import Activation
from fastweights.kernels.native import library
from fastweights.kernels.native.calls import blocks, buffer, contiguous, flatten_members, pointer, unflatten_members
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
    decay: float,
    fast_learning_rate: float,
    inner_steps: int,
    activation: Activation,
    norm_epsilon: float,
    final_fast_weights: bool,
) -> tuple[Float[Tensor, "B T H"], FastWeightState]:
    """Same arguments and results as the reference."""
    h0, A0 = state or (None, None)
    tensors = (z, weight_hh, norm_weight, norm_bias, h0, A0, lengths)
    reals = [decay, fast_learning_rate, norm_epsilon]
    out, h, A = one_member(tensors, reals, [inner_steps, int(activation == "tanh"), int(final_fast_weights)])
    return out, FastWeightState(h, A)


def one_member(
    tensors: Sequence[Tensor | None], reals: list[float], integers: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """out, h and A for z, W, gain, bias, h(0), A(0), lengths; λ, η, ε; S, whether f is tanh, whether A is wanted."""
    forward: Callable[..., Any] = _forward if torch.compiler.is_compiling() else _Forward.apply
    lifted = (None if tensor is None else tensor.unsqueeze(0) for tensor in tensors)
    out, h, A, _, _ = forward(*lifted, reals, [*integers, int(torch.is_grad_enabled())])
    return out.squeeze(0), h.squeeze(0), A.squeeze(0)


def _plan(steps: int, hidden: int, has_A0: bool) -> tuple[int, int]:
    """Steps in a chunk, and how many checkpoints of A are kept.

    Attention over all T steps costs about 2TR a step, chunks over an explicit A 4R² + 2cR.
    """
    if steps <= 2 * hidden + _CHUNK:
        return steps, int(has_A0)
    chunks = -(-steps // _CHUNK)
    return _CHUNK, -(-chunks // _SPACING)


def _saved_width(steps: int, hidden: int, inner_steps: int, norm: bool) -> int:
    """`Saved::size` of fast_weights.hpp: numbers for one sequence that the backward pass reads."""
    record = hidden + inner_steps * hidden + (inner_steps * (hidden + 1) if norm else 0)
    return steps * record + hidden


def _call(z_shape: torch.Size, chunk: int, reals: list[float], integers: list[int]) -> library.FastWeightsCall:
    members, batch, steps, hidden = z_shape
    return library.FastWeightsCall(
        members=members,
        batch=batch,
        steps=steps,
        hidden=hidden,
        threads=torch.get_num_threads(),
        inner_steps=integers[0],
        chunk=chunk,
        spacing=_SPACING,
        tanh=integers[1],
        decay=reals[0],
        fast_learning_rate=reals[1],
        norm_epsilon=reals[2],
    )


def _run_forward(
    z: Tensor,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    h0: Tensor | None,
    A0: Tensor | None,
    lengths: Tensor | None,
    reals: list[float],
    integers: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """out (P, B, T, H), h (P, B, H), A (P, B, H, H), and what the backward pass needs."""
    z, weight_hh, norm_weight, norm_bias, h0, A0 = contiguous(z, weight_hh, norm_weight, norm_bias, h0, A0)
    (lengths,) = contiguous(None if lengths is None else lengths.long())
    results = _empty_results(z, norm_weight, A0, integers)
    out, h, A, saved, checkpoints = results
    chunk, _ = _plan(z.shape[2], z.shape[3], A0 is not None)
    call = _call(z.shape, chunk, reals, integers)
    for name, tensor in (
        *(("z", z), ("weight_hh", weight_hh), ("norm_weight", norm_weight), ("norm_bias", norm_bias)),
        *(("h0", h0), ("A0", A0), ("lengths", lengths), ("out", out), ("h_final", h), ("A_final", A)),
        *(("saved", saved), ("checkpoints", checkpoints)),
    ):
        setattr(call, name, pointer(tensor))
    width = library.function("fw_fast_weights_scratch", z.dtype)(ctypes.byref(call), ctypes.c_int64(0))
    scratch = buffer(z, call.threads, width)
    call.scratch = pointer(scratch)
    library.function("fw_fast_weights_forward", z.dtype)(ctypes.byref(call))
    return results


def _fake_forward(
    z: Tensor,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    h0: Tensor | None,
    A0: Tensor | None,
    lengths: Tensor | None,
    reals: list[float],
    integers: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _empty_results(z, norm_weight, A0, integers)


def _empty_results(
    z: Tensor, norm_weight: Tensor | None, A0: Tensor | None, integers: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    members, batch, steps, hidden = z.shape
    inner_steps, _, final, keep = integers
    count = blocks(z)
    _, kept = _plan(steps, hidden, A0 is not None)
    size = hidden if final else 0
    saved = buffer(z, count, _saved_width(steps, hidden, inner_steps, norm_weight is not None) if keep else 0)
    return (
        z.new_empty(members, batch, steps, hidden),
        z.new_empty(members, batch, hidden),
        z.new_empty(members, batch, size, size),
        saved,
        buffer(z, count, kept * hidden * hidden if keep else 0),
    )


def _run_backward(
    d_out: Tensor | None,
    d_h: Tensor | None,
    d_A: Tensor | None,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    lengths: Tensor | None,
    saved: Tensor,
    checkpoints: Tensor,
    reals: list[float],
    integers: list[int],
    sizes: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of z, W, gain, bias, h(0) and A(0); those of what was not given are empty."""
    d_out, d_h, d_A, weight_hh, norm_weight, norm_bias = contiguous(d_out, d_h, d_A, weight_hh, norm_weight, norm_bias)
    (lengths,) = contiguous(None if lengths is None else lengths.long())
    if saved.numel() == 0:
        raise UsageError("the forward pass ran under torch.no_grad() and kept nothing to differentiate")
    _, steps, _, has_A0 = sizes
    members, hidden = weight_hh.shape[:2]
    d_z, d_W, _, _, d_h0, d_A0 = _empty_gradients(weight_hh, norm_weight, sizes)
    count = blocks(d_z)
    d_norm = saved.new_empty(members, count // members, 2, hidden if norm_weight is not None else 0)
    d_boundary = buffer(saved, count, steps * hidden)
    chunk, _ = _plan(steps, hidden, bool(has_A0))
    call = _call(d_z.shape, chunk, reals, integers)
    transposed = weight_hh.mT.contiguous()
    for name, tensor in (
        *(("weight_hh", weight_hh), ("weight_hh_transposed", transposed), ("lengths", lengths)),
        *(("norm_weight", norm_weight), ("norm_bias", norm_bias)),
        *(("saved", saved), ("checkpoints", checkpoints), ("A0", checkpoints if has_A0 else None)),
        *(("d_out", d_out), ("d_h_final", d_h), ("d_A_final", d_A)),
        *(("d_z", d_z), ("d_weight_hh", d_W), ("d_norm", d_norm), ("d_boundary", d_boundary)),
        *(("d_h0", d_h0), ("d_A0", d_A0)),
    ):
        setattr(call, name, pointer(tensor))
    width = library.function("fw_fast_weights_scratch", saved.dtype)(ctypes.byref(call), ctypes.c_int64(1))
    scratch = buffer(saved, call.threads, width)
    call.scratch = pointer(scratch)
    library.function("fw_fast_weights_backward", saved.dtype)(ctypes.byref(call))
    return d_z, d_W, d_norm[:, :, 0].sum(1), d_norm[:, :, 1].sum(1), d_h0, d_A0


def _fake_backward(
    d_out: Tensor | None,
    d_h: Tensor | None,
    d_A: Tensor | None,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    lengths: Tensor | None,
    saved: Tensor,
    checkpoints: Tensor,
    reals: list[float],
    integers: list[int],
    sizes: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _empty_gradients(weight_hh, norm_weight, sizes)


def _empty_gradients(
    weight_hh: Tensor, norm_weight: Tensor | None, sizes: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, steps, has_h0, has_A0 = sizes
    members, hidden = weight_hh.shape[:2]
    normed = hidden if norm_weight is not None else 0
    initial, matrix = (hidden if has_h0 else 0), (hidden if has_A0 else 0)
    new = weight_hh.new_empty
    return (
        new(members, batch, steps, hidden),
        new(members, hidden, hidden),
        new(members, normed),
        new(members, normed),
        new(members, batch, initial),
        new(members, batch, matrix, matrix),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    z, weight_hh, norm_weight, norm_bias, h0, A0, lengths, reals, integers = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(weight_hh, norm_weight, norm_bias, lengths, output[3], output[4])
    ctx.settings = reals, integers, [z.shape[1], z.shape[2], int(h0 is not None), int(A0 is not None)]


def _gradients(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
    reals, integers, sizes = ctx.settings
    d_out, d_h, d_A, _, _ = upstream
    final = integers[2]
    d_z, d_W, d_gain, d_bias, d_h0, d_A0 = _backward(
        d_out, d_h, d_A if final else None, *ctx.saved_tensors, reals, integers, sizes
    )
    normed = ctx.saved_tensors[1] is not None
    return (
        *(d_z, d_W, d_gain if normed else None, d_bias if normed else None),
        *(d_h0 if sizes[2] else None, d_A0 if sizes[3] else None, None, None, None),
    )


def _no_second_derivative(ctx: Any, *gradients: Any) -> None:
    raise UsageError('backend "cpu" has no second derivatives; use backend="reference" for them')


def _over_members(run: Callable[..., Any], info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
    return unflatten_members(info.batch_size, run(*flatten_members(info.batch_size, in_dims, arguments)))


# What torch.compile traces: operators that it need not look into.
_forward = torch.library.custom_op(
    "fastweights::fast_weights_forward", _run_forward, mutates_args=(), device_types="cpu"
)
_forward.register_fake(_fake_forward)
_backward = torch.library.custom_op(
    "fastweights::fast_weights_backward", _run_backward, mutates_args=(), device_types="cpu"
)
_backward.register_fake(_fake_backward)
_forward.register_autograd(_gradients, setup_context=_setup_context)
_backward.register_autograd(_no_second_derivative)
_forward.register_vmap(functools.partial(_over_members, _forward))
_backward.register_vmap(functools.partial(_over_members, _backward))


class _Forward(torch.autograd.Function):
    """The forward operator outside torch.compile, where a call of it costs as much as a small layer's recurrence."""

    @staticmethod
    def forward(*inputs: Any) -> Any:
        return _run_forward(*inputs)

    setup_context = staticmethod(_setup_context)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
        return _gradients(ctx, *upstream)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        return _over_members(_Forward.apply, info, in_dims, *arguments)
