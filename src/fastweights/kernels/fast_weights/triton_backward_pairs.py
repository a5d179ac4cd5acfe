"""The recurrence backwards, one program a sequence, for matrices on the chip and for streamed ones.

Carried are h̄, a vector, and M = G + Gᵀ, G being the gradient of A(t). On the chip every step renews M, unless there are
only a few and no A is formed. Otherwise M stays in memory and stands still for BLOCK_STEPS steps, as A does for CHUNK:
its products with the hidden vectors of these steps are known in advance, the pairs (ū, q) that have come since are
attended to, and a product of that rank renews it. README.md derives both.
"""

from typing import no_type_check

import triton
import triton.language as tl

from fastweights.kernels.fast_weights.triton_on_chip import SIZES
from fastweights.kernels.fast_weights.triton_parts import (
    attend,
    folded,
    length_of,
    normalise_backward,
    power,
    product,
    setting,
    share,
    slope,
    streamed_product,
    sums,
)

BLOCK_STEPS = 16
_STEPS = tl.constexpr(BLOCK_STEPS)
POINTERS = [
    *("weight", "gain", "checkpoints", "lengths", "settings", "saved", "d_out", "d_h", "M"),
    *("d_z", "d_h0", "d_gain", "d_bias", "d_sums", "scratch"),
]


@triton.jit
@no_type_check
def project(
    M,
    hidden,
    last,
    begin,
    count,
    products,
    R: tl.constexpr,
    SIDE: tl.constexpr,
    TYPE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """M h for the hidden vectors that the steps from `begin` on made, into the rows of `products`."""
    row = tl.cast(begin, tl.int64) + tl.arange(0, _STEPS)
    for first in range(0, R, SIDE):
        a = first + tl.arange(0, SIDE)
        found = tl.zeros([_STEPS, SIDE], TYPE)
        for second in range(0, R, SIDE):
            b = second + tl.arange(0, SIDE)
            made = tl.where(row[:, None] == count - 1, last + b[None, :], hidden + (row[:, None] + 1) * R + b[None, :])
            h = tl.load(made, mask=(row < count)[:, None] & (b < R)[None, :], other=0.0)
            tile = tl.load(M + b[:, None] * R + a[None, :], mask=(b < R)[:, None] & (a < R)[None, :], other=0.0)
            found += tl.dot(h, tile, input_precision=PRECISION, out_dtype=TYPE)
        place = products + tl.arange(0, _STEPS)[:, None] * R + a[None, :]
        tl.store(place, found, mask=(a < R)[None, :] & (row < count)[:, None])
    tl.debug_barrier()


@triton.jit
@no_type_check
def renew_pairs(
    M,
    known,
    pairs,
    queries,
    count,
    decay,
    S: tl.constexpr,
    R: tl.constexpr,
    SIDE: tl.constexpr,
    TYPE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """M ← λ^count M + Σ_{i<count} λ^i Σ_s (ū q ᵀ + q ūᵀ), the ū being the rows of `pairs`; M is 0 unless `known`."""
    tl.debug_barrier()
    i = tl.arange(0, _STEPS)
    there = i < count
    weights = tl.where(there, power(decay, i), 0.0)
    faded = power(decay, count)
    for first in range(0, R, SIDE):
        a = first + tl.arange(0, SIDE)
        for second in range(0, R, SIDE):
            b = second + tl.arange(0, SIDE)
            entries = a[:, None] * R + b[None, :]
            square = (a < R)[:, None] & (b < R)[None, :]
            tile = faded * tl.load(M + entries, mask=square & known, other=0.0)
            for s in range(S):
                across = (i * S + s)[None, :] * R + a[:, None]
                down = (i * S + s)[:, None] * R + b[None, :]
                u_a = tl.load(pairs + across, mask=there[None, :] & (a < R)[:, None], other=0.0) * weights[None, :]
                q_a = tl.load(queries + across, mask=there[None, :] & (a < R)[:, None], other=0.0) * weights[None, :]
                u_b = tl.load(pairs + down, mask=there[:, None] & (b < R)[None, :], other=0.0)
                q_b = tl.load(queries + down, mask=there[:, None] & (b < R)[None, :], other=0.0)
                tile += tl.dot(u_a, q_b, input_precision=PRECISION, out_dtype=TYPE)
                tile += tl.dot(q_a, u_b, input_precision=PRECISION, out_dtype=TYPE)
            tl.store(M + entries, tile, mask=square)
    tl.debug_barrier()


@triton.jit(do_not_specialize=[*SIZES, "one"], do_not_specialize_on_alignment=POINTERS)
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
    one,
    decay,
    rate,
    R: tl.constexpr,
    BLOCK: tl.constexpr,
    S: tl.constexpr,
    CHUNK: tl.constexpr,
    ROWS: tl.constexpr,
    SIDE: tl.constexpr,
    PAIRS: tl.constexpr,
    FEW_PAIRS: tl.constexpr,
    TYPE: tl.constexpr,
    PRECISION: tl.constexpr,
    TANH: tl.constexpr,
    NORM: tl.constexpr,
    MEMORY: tl.constexpr,
    INITIAL_H: tl.constexpr,
    INITIAL_A: tl.constexpr,
    RAGGED: tl.constexpr,
    PER_MEMBER: tl.constexpr,
    ON_CHIP: tl.constexpr,
    ONE_BLOCK: tl.constexpr,
    GIVEN_OUT: tl.constexpr,
    GIVEN_H: tl.constexpr,
    GIVEN_A: tl.constexpr,
):
    """The gradients of z and h(0) of one sequence, its shares of those of gain and bias, and with INITIAL_A the ū.

    `M` is memory of a sequence's own, (P·B, R, R), with GIVEN_A to begin with the gradient of A(T) and its transpose
    together; `scratch` too, CHUNK + (1 + BLOCK_STEPS (1 + S)) R numbers each. PAIRS is BLOCK_STEPS · S, up to a power
    of two. ONE_BLOCK: there are at most BLOCK_STEPS steps, and A is zero before them. `one` is 1, which the compiler
    must not know: it would lay the tile of dot products out for loading, with all threads of a warp along the sum.
    """
    HOLD_M: tl.constexpr = ON_CHIP and MEMORY and not ONE_BLOCK  # in registers
    sequence = tl.program_id(0).to(tl.int64)
    member = sequence // batch
    own = sequence - member * batch  # within the member
    decay = setting(settings + member * 3, decay, PER_MEMBER, TYPE)
    rate = setting(settings + member * 3 + 1, rate, PER_MEMBER, TYPE)
    count = length_of(lengths, sequence, steps, RAGGED)
    units = tl.arange(0, BLOCK)
    inside = units < R
    entries = units[:, None] * R + units[None, :]
    square = inside[:, None] & inside[None, :]
    weight += member * R * R
    if ON_CHIP:
        W = tl.load(weight + entries, mask=square, other=0.0).to(TYPE)
    if NORM:
        g = tl.load(gain + member * R + units, mask=inside, other=0.0).to(TYPE)
        sum_gain = tl.zeros([BLOCK], TYPE)
        sum_bias = tl.zeros([BLOCK], TYPE)
    total = tl.cast(batch, tl.int64) * steps * R
    hidden = saved + member * member_saved + own * steps * R
    queries = saved + member * member_saved + total + own * steps * S * R
    normed = queries + total * S
    inverse = saved + member * member_saved + total * (1 + 2 * S) + own * steps * S
    last = saved + member * member_saved + total * (1 + S) + own * R
    if NORM:
        last += total * S + tl.cast(batch, tl.int64) * steps * S
    checkpoints += member * member_checkpoints + own * (member_checkpoints // batch)
    d_out += sequence * steps * R
    d_z += sequence * steps * R
    if INITIAL_A:
        d_sums += sequence * steps * S * R
    M += sequence * R * R
    powers = scratch + sequence * (
        CHUNK + (1 + _STEPS * (1 + S)) * R
    )  # of λ; to read one costs less than to work it out
    place = powers + CHUNK
    products = place + R
    pairs = products + _STEPS * R
    dh = tl.zeros([BLOCK], TYPE)
    if GIVEN_H:
        dh = tl.load(d_h + sequence * R + units, mask=inside, other=0.0).to(TYPE)
    for t in range(count, steps):
        tl.store(d_z + tl.cast(t, tl.int64) * R + units, tl.zeros([BLOCK], TYPE), mask=inside)
        if INITIAL_A:
            for s in range(S):
                at = tl.cast(t, tl.int64) * S + s
                tl.store(d_sums + at * R + units, tl.zeros([BLOCK], TYPE), mask=inside)
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
    if HOLD_M:
        # Zeros, too, are loaded, so to say: what is loaded has the layout of W, which saves vectors another exchange.
        held = tl.load(M + entries, mask=square & (GIVEN_A or steps < 0), other=0.0)
        if GIVEN_A:
            dh += rate * product(held, h, BLOCK)
    if MEMORY:
        exponents = tl.arange(0, CHUNK)
        tl.store(powers + exponents, power(decay, exponents))
        tl.debug_barrier()
    i = tl.arange(0, _STEPS)
    pair = tl.arange(0, PAIRS)
    blocks = tl.cdiv(count, _STEPS)
    for block in range(blocks):
        begin = (blocks - 1 - block) * _STEPS
        within = tl.minimum(_STEPS, count - begin)  # steps of this block
        chunk = begin // CHUNK
        offset = begin - chunk * CHUNK
        known = GIVEN_A or block > 0
        A = checkpoints
        if INITIAL_A:
            A += tl.cast(chunk, tl.int64) * R * R
        else:
            A += tl.cast(chunk - 1, tl.int64) * R * R  # before the first chunk A is zero, and not read
        if MEMORY:
            first = tl.cast(begin, tl.int64)
            there = (i < within - 1)[:, None] & inside[None, :]
            H = tl.load(hidden + (first + 1 + i)[:, None] * R + units[None, :], mask=there, other=0.0)
            if not HOLD_M:
                there = (i < within - 1)[None, :] & inside[:, None]
                H_dots = tl.load(hidden + (first + 1 + i)[None, :] * R + (units * one)[:, None], mask=there, other=0.0)
                if (GIVEN_A or not ONE_BLOCK) and known:
                    project(M, hidden, last, begin, count, products, R, SIDE, TYPE, PRECISION)
                there = (pair < within * S)[:, None] & inside[None, :]
                Q = tl.load(queries + (first * S + pair)[:, None] * R + units[None, :], mask=there, other=0.0)
                U = tl.zeros([PAIRS, BLOCK], TYPE)
                # q_mᵀ h_i, as one product where it fits into shared memory.
                if FEW_PAIRS:
                    q_h = tl.dot(Q, tl.trans(H), input_precision="ieee", out_dtype=TYPE)
                else:
                    q_h = tl.zeros([PAIRS, _STEPS], TYPE)
                    for made in range(within - 1):
                        vector = tl.load(hidden + (first + 1 + made) * R + units, mask=inside, other=0.0)
                        q_h = tl.where(i[None, :] == made, tl.sum(Q * vector[None, :], 1)[:, None], q_h)
                u_h = tl.zeros([PAIRS, _STEPS], TYPE)  # ū_mᵀ h_i
            if ON_CHIP and not ONE_BLOCK:
                A_k = tl.load(A + entries, mask=square & (INITIAL_A or chunk > 0), other=0.0)
        for step in range(within):
            j = within - 1 - step
            at = tl.cast(begin + j, tl.int64)
            earlier = tl.maximum(at - 1, 0)
            before = next_before
            next_before = tl.load(hidden + earlier * R + units, mask=inside, other=0.0)
            if MEMORY and not HOLD_M and (GIVEN_A or not ONE_BLOCK):
                projected = tl.load(products + j * R + units, mask=inside & known, other=0.0)
            if GIVEN_OUT:
                dh += next_out.to(TYPE)
                next_out = tl.load(d_out + earlier * R + units, mask=inside, other=0.0)
            if MEMORY:
                if HOLD_M:
                    held *= decay
                else:
                    now = i[None, :] == j
                    onto_q, onto_u = sums(tl.where(now, q_h, 0.0), tl.where(now, u_h, 0.0), 1)
                    since = pair // S - j - 1
                    known_power = (since >= 0) & (since < _STEPS)  # if S is no power of two, some pairs are none
                    weights = tl.load(powers + tl.maximum(since, 0), mask=known_power, other=0.0)
                    recalled = tl.sum(U * (weights * onto_q)[:, None] + Q * (weights * onto_u)[:, None], 0)
                    if GIVEN_A or not ONE_BLOCK:
                        recalled += tl.load(powers + within - 1 - j) * projected
                    dh += rate * recalled
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
                dh = tl.zeros([BLOCK], TYPE)
                if MEMORY:
                    if HOLD_M:
                        # Without a tile of its own: there are hardly registers for it.
                        dots = tl.sum(H * du[None, :], 1)
                        held += du[:, None] * query[None, :] + query[:, None] * du[None, :]
                    else:
                        dots = tl.sum(H_dots * du[:, None], 0)
                        this_pair = pair[:, None] == j * S + s
                        u_h = tl.where(this_pair, dots[None, :], u_h)
                        U = tl.where(this_pair, du[None, :], U)
                    attended = folded(H * (fading * dots)[:, None], _STEPS, BLOCK)
                    if HOLD_M:
                        attended += tl.load(powers + offset + j) * folded(A_k * du[:, None], BLOCK, BLOCK)
                    dh = tl.sum(attended, 0)
                    if not ON_CHIP:
                        this = pairs + (j * S + s) * R
                        share(this, du, units, inside)
                        if offset > 0:  # what lies in the chunk before this block
                            before_block = hidden + (first - offset + 1) * R
                            dh += tl.load(powers + j) * attend(
                                before_block, offset, du, decay, rate, units, inside, R, _STEPS
                            )
                        if INITIAL_A or chunk > 0:
                            dh += tl.load(powers + offset + j) * streamed_product(
                                A, this, units, inside, R, BLOCK, ROWS
                            )
                h = query
            dz += dh * slope(h, TANH)
            tl.store(d_z + at * R + units, dz, mask=inside)
            if ON_CHIP:
                driven = folded(W * dz[:, None], BLOCK, BLOCK)
                if HOLD_M:
                    # What A(t−1) stored; h(0) is not stored.
                    driven += tl.where(at > 0, rate * folded(held * before[:, None], BLOCK, BLOCK), 0.0)
                dh = tl.sum(driven, 0)
            else:
                share(place, dz, units, inside)
                dh = streamed_product(weight, place, units, inside, R, BLOCK, ROWS)
            h = before
        if MEMORY and not ON_CHIP and not ONE_BLOCK and begin > 0:
            renew_pairs(M, known, pairs, queries + first * S * R, within, decay, S, R, SIDE, TYPE, PRECISION)
    if INITIAL_H:
        tl.store(d_h0 + sequence * R + units, dh, mask=inside)
    if NORM:
        tl.store(d_gain + sequence * R + units, sum_gain, mask=inside)
        tl.store(d_bias + sequence * R + units, sum_bias, mask=inside)
