"""The recurrence forwards with W and A in registers, one program a sequence. README.md beside this file derives it."""

from typing import no_type_check

import triton
import triton.language as tl

from fastweights.kernels.fast_weights.triton_parts import (
    SIZES,
    activate,
    clear,
    kept,
    length_of,
    normalise,
    product,
    setting,
)

READS = ["z", "weight_transposed", "gain", "bias", "h0", "A0_transposed", "lengths", "settings"]
WRITES = ["out", "h_final", "A_final", "saved", "checkpoints"]


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=READS + WRITES)
@no_type_check
def forward(
    z,
    weight_transposed,
    gain,
    bias,
    h0,
    A0_transposed,
    lengths,
    settings,
    out,
    h_final,
    A_final,
    saved,
    checkpoints,
    batch,
    steps,
    member_saved,
    member_checkpoints,
    decay,
    rate,
    epsilon,
    R: tl.constexpr,
    BLOCK: tl.constexpr,
    S: tl.constexpr,
    CHUNK: tl.constexpr,
    TYPE: tl.constexpr,
    TANH: tl.constexpr,
    NORM: tl.constexpr,
    MEMORY: tl.constexpr,
    INITIAL_H: tl.constexpr,
    INITIAL_A: tl.constexpr,
    RAGGED: tl.constexpr,
    PER_MEMBER: tl.constexpr,
    FINAL: tl.constexpr,
    KEEP: tl.constexpr,
):
    """h(1) … h(T) and the final state of one sequence; what the backward pass reads if KEEP."""
    sequence = tl.program_id(0).to(tl.int64)
    member = sequence // batch
    row = sequence - member * batch  # within the member
    decay = setting(settings + member * 3, decay, PER_MEMBER, TYPE)
    rate = setting(settings + member * 3 + 1, rate, PER_MEMBER, TYPE)
    epsilon = setting(settings + member * 3 + 2, epsilon, PER_MEMBER, TYPE)
    count = length_of(lengths, sequence, steps, RAGGED)
    units = tl.arange(0, BLOCK)
    inside = units < R
    entries = units[:, None] * R + units[None, :]
    square = inside[:, None] & inside[None, :]
    W = tl.load(weight_transposed + member * R * R + entries, mask=square, other=0.0).to(TYPE)
    if NORM:
        g = tl.load(gain + member * R + units, mask=inside, other=0.0).to(TYPE)
        b = tl.load(bias + member * R + units, mask=inside, other=0.0).to(TYPE)
    h = tl.zeros([BLOCK], TYPE)
    if INITIAL_H:
        h = tl.load(h0 + sequence * R + units, mask=inside, other=0.0).to(TYPE)
    A = tl.zeros([BLOCK, BLOCK], TYPE)  # transposed
    if INITIAL_A:
        A = tl.load(A0_transposed + sequence * R * R + entries, mask=square, other=0.0).to(TYPE)
    z += sequence * steps * R
    out += sequence * steps * R
    hidden, queries, normed, inverse, last = kept(saved, member, row, batch, steps, member_saved, S, R, NORM)
    if KEEP:
        checkpoint = checkpoints + member * member_checkpoints + row * (member_checkpoints // batch)
    driven = tl.zeros([BLOCK], TYPE)  # W h
    if INITIAL_H:
        driven = product(W, h, BLOCK)
    coming = tl.load(z + units, mask=inside, other=0.0).to(TYPE)
    for begin in range(0, count, CHUNK):
        if KEEP and MEMORY and (INITIAL_A or begin > 0):
            tl.store(checkpoint + entries, A, mask=square)
            checkpoint += R * R
        for t in range(begin, tl.minimum(begin + CHUNK, count)):
            z_t = coming
            # Fetched a step ahead: memory is slower than a step.
            at = tl.cast(t, tl.int64)
            coming = tl.load(z + (at + 1) * R + units, mask=inside & (t + 1 < count), other=0.0).to(TYPE)
            if KEEP:
                tl.store(hidden + at * R + units, h, mask=inside)
            boundary = z_t + driven
            h = activate(boundary, TANH)
            for s in range(S):
                if KEEP:
                    tl.store(queries + (at * S + s) * R + units, h, mask=inside)
                u = boundary
                if MEMORY:
                    u += product(A, h, BLOCK)
                if NORM:
                    u, scale = normalise(u, inside, epsilon, R)
                    if KEEP:
                        tl.store(normed + (at * S + s) * R + units, u, mask=inside)
                        tl.store(inverse + at * S + s, scale)
                    u = g * u + b
                h = activate(u, TANH)
            driven = product(W, h, BLOCK)
            if MEMORY:
                A = decay * A + h[:, None] * (rate * h)[None, :]
            tl.store(out + at * R + units, h, mask=inside)
    clear(out, count, steps, units, inside, R, 1)
    tl.store(h_final + sequence * R + units, h, mask=inside)
    if KEEP:
        # The gradients of W and of A(0) are products over all steps.
        clear(hidden, count, steps, units, inside, R, 1)
        if INITIAL_A:
            clear(queries, count, steps, units, inside, R, S)
        tl.store(last + units, h, mask=inside)
    if FINAL:
        tl.store(A_final + sequence * R * R + entries, A, mask=square)
