"""The recurrence forwards for matrices that do not fit on the chip: W and A stay in memory and are read tile by tile.

A stands still for CHUNK steps; within them the past is attended to, at their end one product of rank CHUNK renews A.
Arguments are those of triton_on_chip.py. README.md beside this file derives the form.
"""

from typing import no_type_check

import triton
import triton.language as tl

from fastweights.kernels.fast_weights.triton_on_chip import READS, WRITES
from fastweights.kernels.fast_weights.triton_parts import (
    SIZES,
    activate,
    attend,
    clear,
    kept,
    length_of,
    normalise,
    power,
    setting,
    share,
    streamed_product,
)


@triton.jit
@no_type_check
def renew(
    old,
    new,
    ring,
    count,
    decay,
    rate,
    was,
    R: tl.constexpr,
    CHUNK: tl.constexpr,
    SIDE: tl.constexpr,
    TYPE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """new = λ^count old + η Σ_{i<count} λ^{count−1−i} h_i h_iᵀ, h_i being the rows of `ring`; old is 0 unless `was`."""
    tl.debug_barrier()
    i = tl.arange(0, CHUNK)
    past = i < count
    weights = tl.where(past, rate * power(decay, tl.maximum(count - 1 - i, 0)), 0.0)
    faded = power(decay, count)
    for first in range(0, R, SIDE):
        a = first + tl.arange(0, SIDE)
        left = tl.load(ring + i[None, :] * R + a[:, None], mask=past[None, :] & (a < R)[:, None], other=0.0)
        left *= weights[None, :]
        for second in range(0, R, SIDE):
            b = second + tl.arange(0, SIDE)
            right = tl.load(ring + i[:, None] * R + b[None, :], mask=past[:, None] & (b < R)[None, :], other=0.0)
            tile = tl.dot(left, right, input_precision=PRECISION, out_dtype=TYPE)
            entries = a[:, None] * R + b[None, :]
            square = (a < R)[:, None] & (b < R)[None, :]
            tile += faded * tl.load(old + entries, mask=square & was, other=0.0).to(TYPE)
            tl.store(new + entries, tile, mask=square)
    tl.debug_barrier()


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=[*READS, *WRITES, "working", "scratch"])
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
    working,
    scratch,
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
    ROWS: tl.constexpr,
    SIDE: tl.constexpr,
    TYPE: tl.constexpr,
    PRECISION: tl.constexpr,
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
    """As on the chip. `working` is an A of a sequence's own, (P·B, R, R); `scratch` has (P·B, CHUNK + 1, R) numbers."""
    sequence = tl.program_id(0).to(tl.int64)
    member = sequence // batch
    row = sequence - member * batch
    decay = setting(settings + member * 3, decay, PER_MEMBER, TYPE)
    rate = setting(settings + member * 3 + 1, rate, PER_MEMBER, TYPE)
    epsilon = setting(settings + member * 3 + 2, epsilon, PER_MEMBER, TYPE)
    count = length_of(lengths, sequence, steps, RAGGED)
    units = tl.arange(0, BLOCK)
    inside = units < R
    W = weight_transposed + member * R * R
    if NORM:
        g = tl.load(gain + member * R + units, mask=inside, other=0.0).to(TYPE)
        b = tl.load(bias + member * R + units, mask=inside, other=0.0).to(TYPE)
    h = tl.zeros([BLOCK], TYPE)
    if INITIAL_H:
        h = tl.load(h0 + sequence * R + units, mask=inside, other=0.0).to(TYPE)
    z += sequence * steps * R
    out += sequence * steps * R
    A_final += sequence * R * R
    place = scratch + sequence * (CHUNK + 1) * R
    ring = place + R  # the hidden vectors of this chunk
    hidden, queries, normed, inverse, last = kept(saved, member, row, batch, steps, member_saved, S, R, NORM)
    own = checkpoints + member * member_checkpoints + row * (member_checkpoints // batch)
    # Where the A of this chunk is. Without gradients one place is enough, for every entry is read before it is written.
    A = working + sequence * R * R
    if INITIAL_A and MEMORY:
        for first in range(0, R, ROWS):
            j = first + tl.arange(0, ROWS)
            entries = j[:, None] * R + units[None, :]
            square = (j < R)[:, None] & inside[None, :]
            tile = tl.load(A0_transposed + sequence * R * R + entries, mask=square, other=0.0).to(TYPE)
            if KEEP:
                tl.store(own + entries, tile, mask=square)
            else:
                tl.store(A + entries, tile, mask=square)
    if KEEP:
        A = own
        if not INITIAL_A:
            A -= R * R  # nothing is stored before the first chunk, and this is never read
    for begin in range(0, count, CHUNK):
        within = tl.minimum(CHUNK, count - begin)
        was = INITIAL_A or begin > 0  # whether anything is stored yet
        for step in range(within):
            at = tl.cast(begin + step, tl.int64)
            if KEEP:
                tl.store(hidden + at * R + units, h, mask=inside)
            share(place, h, units, inside)
            boundary = tl.load(z + at * R + units, mask=inside, other=0.0).to(TYPE)
            boundary += streamed_product(W, place, units, inside, R, BLOCK, ROWS)
            h = activate(boundary, TANH)
            for s in range(S):
                if KEEP:
                    tl.store(queries + (at * S + s) * R + units, h, mask=inside)
                u = boundary
                if MEMORY:
                    u += attend(ring, step, h, decay, rate, units, inside, R, 16)
                    if was:
                        share(place, h, units, inside)
                        u += power(decay, step) * streamed_product(A, place, units, inside, R, BLOCK, ROWS)
                if NORM:
                    u, scale = normalise(u, inside, epsilon, R)
                    if KEEP:
                        tl.store(normed + (at * S + s) * R + units, u, mask=inside)
                        tl.store(inverse + at * S + s, scale)
                    u = g * u + b
                h = activate(u, TANH)
            tl.store(out + at * R + units, h, mask=inside)
            share(ring + step * R, h, units, inside)
        if MEMORY:
            if begin + CHUNK < count:
                following = A
                if KEEP:
                    following += R * R
                renew(A, following, ring, CHUNK, decay, rate, was, R, CHUNK, SIDE, TYPE, PRECISION)
                A = following
            elif FINAL:
                renew(A, A_final, ring, within, decay, rate, was, R, CHUNK, SIDE, TYPE, PRECISION)
    clear(out, count, steps, units, inside, R, 1)
    tl.store(h_final + sequence * R + units, h, mask=inside)
    if KEEP:
        # The gradients of W and of A(0) are products over all steps.
        clear(hidden, count, steps, units, inside, R, 1)
        if INITIAL_A:
            clear(queries, count, steps, units, inside, R, S)
        tl.store(last + units, h, mask=inside)
