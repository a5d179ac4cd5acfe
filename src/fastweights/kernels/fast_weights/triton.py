"""The fast-weight recurrence on a GPU, in Triton: one program a sequence, its matrices on the chip or streamed.

README.md beside this file derives both forms. P below is the number of members; see `Operator` for them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.kernels.fast_weights.call import Gradients

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MOST_UNITS = 512
# As many bytes of one matrix as the registers of a multiprocessor hold beside the others.
_ON_CHIP_BYTES = 64 * 2**10
# Of one matrix in the registers of a warp, half of all there are, where many sequences are to be done at once.
_BYTES_OF_A_WARP = 16 * 2**10
_CHUNK_ON_CHIP, _CHUNK_STREAMED = 16, 64
# The side of a tile of a product on the chip.
_SIDE = 32
# More pairs of a block of steps than this many an inner step are better kept summed up, in M.
_MOST_INNER_STEPS_OF_PAIRS = 4
# Bytes of a block's pairs up to which a product of them fits into shared memory.
_MOST_BYTES_OF_PAIRS = 128 * 2**10
# Products are cut into about as many pieces as keep a large GPU busy.
_PIECES = 128


def interpreted() -> bool:
    """Whether Triton interprets its kernels on the CPU, which is for tests: it is slow."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on")


def missing() -> str | None:
    """Why this backend is not there and what to do, or None."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; pip install 'fastweights[triton]'"
    if not torch.cuda.is_available() and not interpreted():
        return "this torch sees no GPU; on a CPU its kernels run with TRITON_INTERPRET=1, slowly, for tests"
    return None


class _Plan(NamedTuple):
    """How the kernels run a hidden size: it depends on that and the number type alone, so that no B or T compiles anew.

    Which of the numbers of warps they take depends on whether there are several members, and on the kernel. Nothing is
    tuned when it runs, either: equal input gives equal bits.
    """

    on_chip: bool
    block: int
    """Units, up to a power of two."""
    chunk: int
    """Steps between two copies of A that the backward pass starts from."""
    rows: int
    """Of a streamed matrix, read at once."""
    warps: int
    """Of a program, for a sequence to be done soon."""
    warps_of_many: int
    """Of a program, for as many sequences as possible to be done at once: a multiprocessor holds more programs."""
    warps_back: int
    """Of a program of the backward pass that holds three matrices in registers."""

    def warps_for(self, lead: Sequence[int]) -> int:
        """Of a program, given the dimensions that members have; a model alone may have one, of size 1."""
        return self.warps_of_many if math.prod(lead) > 1 else self.warps

    @classmethod
    def of(cls, hidden: int, dtype: torch.dtype) -> _Plan:
        block = max(16, 1 << (hidden - 1).bit_length())
        if block * block * dtype.itemsize <= _ON_CHIP_BYTES:
            of_many = max(1, block * block * dtype.itemsize // _BYTES_OF_A_WARP)
            return cls(True, block, _CHUNK_ON_CHIP, block, block // 16, of_many, min(8, block // 8))
        warps = 8 if block <= 256 else 16
        return cls(False, block, _CHUNK_STREAMED, 8192 // block, warps, warps, warps)


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    """What is computed in: float32, or float64 for float64."""
    return torch.promote_types(dtype, torch.float32)


def _checkpoints(steps: int, chunk: int, stores: int, has_A0: bool) -> int:
    """How many copies of A the forward pass keeps: one at the beginning of every chunk, but none of a zero A."""
    if has_A0:
        return -(-steps // chunk)
    return -(-steps // chunk) - 1 if stores else 0


def _saved_size(batch: int, steps: int, hidden: int, inner_steps: int, norm: bool) -> int:
    """Numbers of one member that the backward pass reads; `triton_parts.kept` says in which order."""
    of_a_step = hidden + inner_steps * hidden + (inner_steps * (hidden + 1) if norm else 0)
    return batch * (steps * of_a_step + hidden)


def empty_results(
    z: Tensor, norm_weight: Tensor | None, A0: Tensor | None, integers: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """out, h, A, what the backward pass reads and the checkpoints of A, not yet computed."""
    *lead, batch, steps, hidden = z.shape
    inner_steps, _, final, stores, keep = integers
    size = hidden if final else 0
    plan = _Plan.of(hidden, _accumulator(z.dtype))
    saved = _saved_size(batch, steps, hidden, inner_steps, norm_weight is not None)
    checkpoints = batch * _checkpoints(steps, plan.chunk, stores, A0 is not None) * hidden * hidden
    return (
        z.new_empty(z.shape),
        z.new_empty(*lead, batch, hidden),
        z.new_empty(*lead, batch, size, size),
        z.new_empty(*lead, saved if keep else 0, dtype=_accumulator(z.dtype)),
        z.new_empty(*lead, checkpoints if keep else 0, dtype=_accumulator(z.dtype)),
    )


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
    from fastweights.kernels.fast_weights import triton_on_chip, triton_streamed

    inner_steps, tanh, final, stores, keep = integers
    *lead, batch, steps, hidden = z.shape
    sequences = math.prod(lead) * batch
    results = empty_results(z, norm_weight, A0, integers)
    out, h, A, saved, checkpoints = results
    wide = saved.dtype
    plan = _Plan.of(hidden, wide)
    memory = bool(stores) or A0 is not None
    settings = _settings(settings, numbers, z, lead)
    z = _given(z, z)
    arguments = {
        "z": z,
        "weight_transposed": weight_hh.mT.contiguous(),
        "gain": _given(norm_weight, z),
        "bias": _given(norm_bias, z),
        "h0": _given(h0, z),
        "A0_transposed": z if A0 is None else A0.mT.contiguous(),
        "lengths": _given(lengths, z),
        "settings": z if settings is None else settings,
        "out": out,
        "h_final": h,
        "A_final": A,
        "saved": saved,
        "checkpoints": checkpoints,
        **_numbers(settings, numbers),
        **_sizes(batch, steps, saved, checkpoints, lead),
        **_flags(plan, hidden, inner_steps, tanh, wide, norm_weight, h0, A0, lengths, settings),
        "MEMORY": memory,
        "FINAL": bool(final),
        "KEEP": bool(keep),
    }
    if not plan.on_chip:
        own = memory and not keep and (A0 is not None or steps > plan.chunk)
        arguments |= {
            "working": z.new_empty(sequences if own else 0, hidden, hidden, dtype=wide),
            "scratch": z.new_empty(sequences, plan.chunk + 1, hidden, dtype=wide),
            "ROWS": plan.rows,
            "SIDE": _SIDE,
            "PRECISION": "tf32" if _allows_tf32(wide) else "ieee",
        }
    kernel = (triton_on_chip if plan.on_chip else triton_streamed).forward
    _launch(kernel, sequences, plan.warps_for(lead), z, arguments)
    if final and not memory and not plan.on_chip:
        A.zero_()
    if A0 is not None:
        A = A.mT.contiguous()  # the kernels hold the transpose, which is A itself unless A(0) was not symmetric
    return out, h, A, saved, checkpoints


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
    from fastweights.kernels.fast_weights import triton_backward_on_chip, triton_backward_pairs
    from fastweights.kernels.fast_weights.triton_parts import BLOCK_STEPS

    if saved.numel() == 0:
        raise UsageError("the forward pass ran under torch.no_grad() and kept nothing to differentiate")
    inner_steps, tanh, _, stores, _ = integers
    batch, steps, has_h0, has_A0 = sizes
    *lead, hidden, _ = weight_hh.shape
    members = math.prod(lead)
    sequences = members * batch
    wide = saved.dtype
    plan = _Plan.of(hidden, wide)
    memory = bool(stores or has_A0)
    new = saved.new_empty
    settings = _settings(settings, numbers, weight_hh, lead)
    saved = saved.contiguous()
    if has_A0:
        # The backward pass reads A, and the forward pass kept its transpose.
        checkpoints = checkpoints.view(-1, hidden, hidden).mT.contiguous().view(*lead, -1)
    weight_hh = weight_hh.contiguous()
    d_z = new(*lead, batch, steps, hidden)
    d_h0 = new(*lead, batch, hidden if has_h0 else 0)
    normed = hidden if norm_weight is not None else 0
    d_norm = new(2, members, batch, normed)
    d_sums = new(*lead, batch, steps if has_A0 else 0, inner_steps, hidden)
    d_A = None if d_A is None else _given(d_A, d_A).to(wide)
    d_A_both = None if d_A is None or not memory else d_A + d_A.mT
    few = steps <= BLOCK_STEPS and (inner_steps <= _MOST_INNER_STEPS_OF_PAIRS or not plan.on_chip)
    one_block = not has_A0 and few
    held = memory and plan.on_chip and not one_block  # M, in registers
    carried = memory and not plan.on_chip and not one_block  # M, in memory
    scratch = plan.chunk + (0 if held else (1 + BLOCK_STEPS * (1 + inner_steps)) * hidden)
    arguments = {
        "weight": weight_hh,
        "gain": _given(norm_weight, saved),
        "checkpoints": checkpoints.contiguous(),
        "lengths": _given(lengths, saved),
        "settings": saved if settings is None else settings,
        "saved": saved,
        "d_out": _given(d_out, saved),
        "d_h": _given(d_h, saved),
        "M": new(sequences if carried else 0, hidden, hidden) if d_A_both is None else d_A_both,
        "scratch": new(sequences if memory or not plan.on_chip else 0, scratch),
        "d_z": d_z,
        "d_h0": d_h0,
        "d_gain": d_norm[0],
        "d_bias": d_norm[1],
        "d_sums": d_sums,
        **{name: value for name, value in _numbers(settings, numbers).items() if name != "epsilon"},
        **_sizes(batch, steps, saved, checkpoints, lead),
        **_flags(
            *(plan, hidden, inner_steps, tanh, wide, norm_weight),
            *(d_h0 if has_h0 else None, d_sums if has_A0 else None, lengths, settings),
        ),
        "GIVEN_OUT": d_out is not None,
        "GIVEN_H": d_h is not None,
        "GIVEN_A": d_A_both is not None,
    }
    if held:
        _launch(triton_backward_on_chip.backward, sequences, plan.warps_back, saved, arguments)
    else:
        pairs = 1 << (BLOCK_STEPS * inner_steps - 1).bit_length()
        arguments |= {
            "MEMORY": memory,
            "ON_CHIP": plan.on_chip,
            "ONE_BLOCK": one_block,
            "one": 1,
            "ROWS": plan.rows,
            "SIDE": _SIDE,
            "PAIRS": pairs,
            "FEW_PAIRS": pairs * plan.block * wide.itemsize <= _MOST_BYTES_OF_PAIRS,
            "PRECISION": "tf32" if _allows_tf32(wide) else "ieee",
        }
        _launch(triton_backward_pairs.backward, sequences, plan.warps_for(lead), saved, arguments)
    d_W = _weight_gradient(d_z.view(members, -1, hidden), saved.view(members, -1))
    d_A0 = new(*lead, batch, 0, 0)
    if has_A0:
        d_A0 = _initial_gradient(d_A, d_sums, saved.view(members, -1), lengths, settings, numbers)
    d_gain, d_bias = (shares.sum(1).view(*lead, normed) for shares in d_norm)
    found = (d_z, d_W.view(weight_hh.shape), d_gain, d_bias, d_h0, d_A0.view(*lead, batch, *d_A0.shape[-2:]))
    d_z, d_W, d_gain, d_bias, d_h0, d_A0 = (gradient.to(weight_hh.dtype) for gradient in found)
    return d_z, d_W, d_gain, d_bias, d_h0, d_A0


def _weight_gradient(d_z: Tensor, saved: Tensor) -> Tensor:
    """Σ_t z̄(t) h(t−1)ᵀ over all steps and sequences of each member: d_z is (P, B·T, H), and `saved` begins with h(t−1).

    One product in pieces, whose sum follows: a GPU wants more of them at once than a member alone has.
    """
    members, rows, hidden = d_z.shape
    before = saved[:, : rows * hidden].view(members, rows, hidden)
    pieces = max(n for n in range(1, max(1, _PIECES // members) + 1) if rows % n == 0)
    shape = members * pieces, rows // pieces, hidden
    found = torch.bmm(d_z.view(shape).mT, before.reshape(shape))
    return found.view(members, pieces, hidden, hidden).sum(1)


def _initial_gradient(
    d_A: Tensor | None,
    d_sums: Tensor,
    saved: Tensor,
    lengths: Tensor | None,
    settings: Tensor | None,
    numbers: list[float],
) -> Tensor:
    """λⁿ Ā(n) + Σ_t λ^t Σ_s ū_s(t) q_s(t)ᵀ, (P·B, H, H), t counted from 0; n is the sequence's length."""
    *_, batch, steps, inner_steps, hidden = d_sums.shape
    members = saved.shape[0]
    wide: dict[str, Any] = {"dtype": torch.float64, "device": saved.device}
    decay = torch.full((1,), numbers[0], **wide) if settings is None else settings.view(-1, 3)[:, 0]
    decay = decay.view(-1, 1, 1)
    count = torch.full((1, 1, 1), steps, device=saved.device)
    if lengths is not None:
        count = lengths.clamp(1, steps).reshape(-1, batch, 1)
    # Nothing was added past a sequence's end, where a λ above 1 could overflow.
    t = torch.arange(steps, device=saved.device).repeat_interleave(inner_steps).minimum(count - 1)
    fading = decay**t
    one = batch * steps * hidden
    queries = saved[:, one : one * (1 + inner_steps)].reshape(members * batch, steps * inner_steps, hidden)
    sums = d_sums.view(members, batch, -1, hidden) * fading.unsqueeze(-1).to(saved.dtype)
    found = torch.bmm(sums.view(queries.shape).mT, queries)
    if d_A is None:
        return found
    faded = (decay**count).expand(members, batch, 1).reshape(-1, 1, 1)
    return found + faded.to(saved.dtype) * d_A.reshape(found.shape)


def _settings(settings: Tensor | None, numbers: list[float], like: Tensor, lead: Sequence[int]) -> Tensor | None:
    """λ, η and ε of every member as a tensor where they are one, or where a number would be rounded to float32."""
    if settings is None and like.dtype is not torch.float64:
        return None
    if settings is None:
        wide = [torch.full((), number, dtype=torch.float64, device=like.device) for number in numbers]
        settings = torch.stack(wide).expand(*lead, 3)
    return settings.to(like.device).contiguous()


def _given(tensor: Tensor | None, instead: Tensor) -> Tensor:
    """The tensor as kernels read it; one that is absent, and is not read, as another's address."""
    return instead if tensor is None else tensor.resolve_neg().contiguous()


def _numbers(settings: Tensor | None, numbers: list[float]) -> dict[str, float]:
    return dict(zip(("decay", "rate", "epsilon"), numbers if settings is None else (0.0, 0.0, 0.0), strict=True))


def _sizes(batch: int, steps: int, saved: Tensor, checkpoints: Tensor, lead: Sequence[int]) -> dict[str, int]:
    members = max(1, math.prod(lead))
    return {
        "batch": batch,
        "steps": steps,
        "member_saved": saved.numel() // members,
        "member_checkpoints": checkpoints.numel() // members,
    }


def _flags(
    plan: _Plan,
    hidden: int,
    inner_steps: int,
    tanh: int,
    dtype: torch.dtype,
    norm_weight: Tensor | None,
    h0: Tensor | None,
    A0: Tensor | None,
    lengths: Tensor | None,
    settings: Tensor | None,
) -> dict[str, Any]:
    """What a kernel is compiled for."""
    from triton import language

    return {
        "R": hidden,
        "BLOCK": plan.block,
        "S": inner_steps,
        "CHUNK": plan.chunk,
        "TYPE": language.float64 if dtype is torch.float64 else language.float32,
        "TANH": bool(tanh),
        "NORM": norm_weight is not None,
        "INITIAL_H": h0 is not None,
        "INITIAL_A": A0 is not None,
        "RAGGED": lengths is not None,
        "PER_MEMBER": settings is not None,
    }


def _allows_tf32(dtype: torch.dtype) -> bool:
    """Whether torch may round the factors of float32 products to TF32; by default it may not."""
    return dtype is torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32"


def _launch(kernel: Any, programs: int, warps: int, on: Tensor, arguments: dict[str, Any]) -> None:
    """Run one program for every sequence, on the device where the tensors are."""
    with torch.cuda.device(on.device) if on.is_cuda else contextlib.nullcontext():
        kernel[(programs,)](**arguments, num_warps=warps)
