"""The recurrence backwards with W, A and M in registers, one program a sequence. README.md beside this file derives it.

Carried are h̄, a vector, and M = G + Gᵀ, G being the gradient of A(t), which every step renews.
"""

from typing import no_type_check

import triton
import triton.language as tl

from fastweights.kernels.fast_weights.triton_parts import (
    SIZES,
    clear,
    folded,
    kept,
    length_of,
    normalise_backward,
    power,
    product,
    setting,
    slope,
)

POINTERS = [
    *("weight", "gain", "checkpoints", "lengths", "settings", "saved", "d_out", "d_h", "M"),
    *("d_z", "d_h0", "d_gain", "d_bias", "d_sums", "scratch"),
]


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=POINTERS)
@no_type_check
def backward(
    weight,
    gain,
    checkpoints,
    lengths,
    settings,
    saved,
    d_out,
    d_h,
    M,
    d_z,
    d_h0,
    d_gain,
    d_bias,
    d_sums,
    scratch,
    batch,
    steps,
    member_saved,
    member_checkpoints,
    decay,
    rate,
    R: tl.constexpr,
    BLOCK: tl.constexpr,
    S: tl.constexpr,
    CHUNK: tl.constexpr,
    TYPE: tl.constexpr,
    TANH: tl.constexpr,
    NORM: tl.constexpr,
    INITIAL_H: tl.constexpr,
    INITIAL_A: tl.constexpr,
    RAGGED: tl.constexpr,
    PER_MEMBER: tl.constexpr,
    GIVEN_OUT: tl.constexpr,
    GIVEN_H: tl.constexpr,
    GIVEN_A: tl.constexpr,
):
    """The gradients of z and h(0) of one sequence, its shares of those of gain and bias, and with INITIAL_A the ū.

    `M` is, with GIVEN_A, the gradient of A(T) and its transpose together, (P·B, R, R); `scratch` is memory of a
    sequence's own, CHUNK numbers.
    """
    sequence = tl.program_id(0).to(tl.int64)
    member = sequence // batch
    row = sequence - member * batch  # within the member
    decay = setting(settings + member * 3, decay, PER_MEMBER, TYPE)
    rate = setting(settings + member * 3 + 1, rate, PER_MEMBER, TYPE)
    count = length_of(lengths, sequence, steps, RAGGED)
    units = tl.arange(0, BLOCK)
    inside = units < R
    entries = units[:, None] * R + units[None, :]
    square = inside[:, None] & inside[None, :]
    W = tl.load(weight + member * R * R + entries, mask=square, other=0.0).to(TYPE)
    if NORM:
        g = tl.load(gain + member * R + units, mask=inside, other=0.0).to(TYPE)
        sum_gain = tl.zeros([BLOCK], TYPE)
        sum_bias = tl.zeros([BLOCK], TYPE)
    hidden, queries, normed, inverse, last = kept(saved, member, row, batch, steps, member_saved, S, R, NORM)
    checkpoints += member * member_checkpoints + row * (member_checkpoints // batch)
    d_out += sequence * steps * R
    d_z += sequence * steps * R
    dh = tl.zeros([BLOCK], TYPE)
    if GIVEN_H:
        dh = tl.load(d_h + sequence * R + units, mask=inside, other=0.0).to(TYPE)
    clear(d_z, count, steps, units, inside, R, 1)
    if INITIAL_A:
        d_sums += sequence * steps * S * R
        clear(d_sums, count, steps, units, inside, R, S)
    powers = scratch + sequence * CHUNK  # of λ; to read one costs less than to work it out
    h = tl.load(last + units, mask=inside, other=0.0)
    # All that a step reads is fetched while the one before it computes: memory is slower than a step.
    newest = tl.cast(count, tl.int64) - 1
    next_before = tl.load(hidden + newest * R + units, mask=inside, other=0.0)
    if GIVEN_OUT:
        next_out = tl.load(d_out + newest * R + units, mask=inside, other=0.0)
    next_query = tl.load(queries + (newest * S + S - 1) * R + units, mask=inside, other=0.0)
    if NORM:
        next_normed = tl.load(normed + (newest * S + S - 1) * R + units, mask=inside, other=0.0)
        next_inverse = tl.load(inverse + newest * S + S - 1)
    # Zeros, too, are loaded, so to say: what is loaded has the layout of W, which saves vectors another exchange.
    held = tl.load(M + sequence * R * R + entries, mask=square & (GIVEN_A or steps < 0), other=0.0)
    if GIVEN_A:
        dh += rate * product(held, h, BLOCK)
    i = tl.arange(0, CHUNK)
    tl.store(powers + i, power(decay, i))
    tl.debug_barrier()
    chunks = tl.cdiv(count, CHUNK)
    for done in range(chunks):
        chunk = chunks - 1 - done
        begin = chunk * CHUNK
        within = tl.minimum(CHUNK, count - begin)  # steps of this chunk
        A = checkpoints
        if INITIAL_A:
            A += tl.cast(chunk, tl.int64) * R * R
        else:
            A += tl.cast(chunk - 1, tl.int64) * R * R  # before the first chunk A is zero, and not read
        there = (i < within - 1)[:, None] & inside[None, :]
        first = tl.cast(begin, tl.int64)
        H = tl.load(hidden + (first + 1 + i)[:, None] * R + units[None, :], mask=there, other=0.0)  # of this chunk
        A_k = tl.load(A + entries, mask=square & (INITIAL_A or chunk > 0), other=0.0)
        for step in range(within):
            j = within - 1 - step
            at = tl.cast(begin + j, tl.int64)
            earlier = tl.maximum(at - 1, 0)
            before = next_before
            next_before = tl.load(hidden + earlier * R + units, mask=inside, other=0.0)
            if GIVEN_OUT:
                dh += next_out.to(TYPE)
                next_out = tl.load(d_out + earlier * R + units, mask=inside, other=0.0)
            held *= decay
            fading = rate * tl.load(powers + tl.maximum(j - 1 - i, 0), mask=i < j, other=0.0)
            dz = tl.zeros([BLOCK], TYPE)
            for back in range(S):
                s = S - 1 - back
                previous = tl.maximum(at * S + s - 1, 0)
                query = next_query
                next_query = tl.load(queries + previous * R + units, mask=inside, other=0.0)
                du = dh * slope(h, TANH)
                if NORM:
                    x, scale = next_normed, next_inverse
                    next_normed = tl.load(normed + previous * R + units, mask=inside, other=0.0)
                    next_inverse = tl.load(inverse + previous)
                    sum_gain += du * x
                    sum_bias += du
                    du = normalise_backward(du * g, x, scale, inside, R)
                dz += du
                if INITIAL_A:
                    tl.store(d_sums + (at * S + s) * R + units, du, mask=inside)
                # Not from a transposed tile of H: there are hardly registers for one.
                dots = tl.sum(H * du[None, :], 1)
                held += du[:, None] * query[None, :] + query[:, None] * du[None, :]
                attended = folded(H * (fading * dots)[:, None], CHUNK, BLOCK)
                attended += tl.load(powers + j) * folded(A_k * du[:, None], BLOCK, BLOCK)
                dh = tl.sum(attended, 0)
                h = query
            dz += dh * slope(h, TANH)
            tl.store(d_z + at * R + units, dz, mask=inside)
            driven = folded(W * dz[:, None], BLOCK, BLOCK)
            # What A(t−1) stored; h(0) is not stored.
            driven += tl.where(at > 0, rate * folded(held * before[:, None], BLOCK, BLOCK), 0.0)
            dh = tl.sum(driven, 0)
            h = before
    if INITIAL_H:
        tl.store(d_h0 + sequence * R + units, dh, mask=inside)
    if NORM:
        tl.store(d_gain + sequence * R + units, sum_gain, mask=inside)
        tl.store(d_bias + sequence * R + units, sum_bias, mask=inside)
