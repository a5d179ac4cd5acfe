"""The recurrence backwards without an M in registers, one program a sequence. README.md beside this file derives it.

Carried are h̄, a vector, and M = G + Gᵀ, G being the gradient of A(t). M stays in memory and stands still for
BLOCK_STEPS steps, as A does for CHUNK: its products with the hidden vectors of these steps are known in advance, the
pairs (ū, q) that have come since are attended to, and a product of that rank renews it. Where no more steps than these
are to be done from A = 0 neither is formed, nor where nothing is stored; then W is on the chip, if it fits.
"""

from typing import no_type_check

import triton
import triton.language as tl

from fastweights.kernels.fast_weights.triton_backward_on_chip import POINTERS
from fastweights.kernels.fast_weights.triton_parts import (
    SIZES,
    STEPS,
    attend,
    clear,
    folded,
    kept,
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
    row = tl.cast(begin, tl.int64) + tl.arange(0, STEPS)
    for first in range(0, R, SIDE):
        a = first + tl.arange(0, SIDE)
        found = tl.zeros([STEPS, SIDE], TYPE)
        for second in range(0, R, SIDE):
            b = second + tl.arange(0, SIDE)
            made = tl.where(row[:, None] == count - 1, last + b[None, :], hidden + (row[:, None] + 1) * R + b[None, :])
            h = tl.load(made, mask=(row < count)[:, None] & (b < R)[None, :], other=0.0)
            tile = tl.load(M + b[:, None] * R + a[None, :], mask=(b < R)[:, None] & (a < R)[None, :], other=0.0)
            found += tl.dot(h, tile, input_precision=PRECISION, out_dtype=TYPE)
        place = products + tl.arange(0, STEPS)[:, None] * R + a[None, :]
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
    i = tl.arange(0, STEPS)
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


@triton.jit
@no_type_check
def dot_products(Q, H, rows, count, units, inside, R: tl.constexpr, AT_ONCE: tl.constexpr):
    """Q Hᵀ, of which `count` columns are not zero, H having the rows of R numbers from `rows` on.

    AT_ONCE: as one product, for which Q must fit into shared memory.
    """
    if AT_ONCE:
        return tl.dot(Q, tl.trans(H), input_precision="ieee", out_dtype=Q.dtype)
    else:
        found = tl.zeros([Q.shape[0], H.shape[0]], Q.dtype)
        column = tl.arange(0, H.shape[0])[None, :]
        for i in range(count):
            h = tl.load(rows + i * R + units, mask=inside, other=0.0)
            found = tl.where(column == i, tl.sum(Q * h[None, :], 1)[:, None], found)
        return found


@triton.jit
@no_type_check
def recall(powers, j, U, Q, u_h, q_h, S: tl.constexpr):
    """Σ_{m>j} λ^{m−j−1} Σ_s (ū (qᵀ h_j) + q (ūᵀ h_j)) over the pairs (ū, q), S a step m, that are there by step j."""
    now = tl.arange(0, q_h.shape[1])[None, :] == j
    onto_q, onto_u = sums(tl.where(now, q_h, 0.0), tl.where(now, u_h, 0.0), 1)
    since = tl.arange(0, U.shape[0]) // S - j - 1
    known = (since >= 0) & (since < STEPS)  # if S is no power of two, some pairs are none
    weights = tl.load(powers + tl.maximum(since, 0), mask=known, other=0.0)
    return tl.sum(U * (weights * onto_q)[:, None] + Q * (weights * onto_u)[:, None], 0)


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

    Where they are needed, `M` is memory of a sequence's own, (P·B, R, R), with GIVEN_A to begin with the gradient of
    A(T) and its transpose together, and so is `scratch`, CHUNK + (1 + BLOCK_STEPS (1 + S)) R numbers each. PAIRS is
    BLOCK_STEPS · S, up to a power of two. ONE_BLOCK: there are at most BLOCK_STEPS steps, and A is zero before them.
    `one` is 1, which the compiler must not know: it would lay the tile of dot products out for loading, with all
    threads of a warp along the sum.
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
    weight += member * R * R
    if ON_CHIP:
        W = tl.load(weight + entries, mask=square, other=0.0).to(TYPE)
    if NORM:
        g = tl.load(gain + member * R + units, mask=inside, other=0.0).to(TYPE)
        sum_gain = tl.zeros([BLOCK], TYPE)
        sum_bias = tl.zeros([BLOCK], TYPE)
    hidden, queries, normed, inverse, last = kept(saved, member, row, batch, steps, member_saved, S, R, NORM)
    checkpoints += member * member_checkpoints + row * (member_checkpoints // batch)
    d_out += sequence * steps * R
    d_z += sequence * steps * R
    if INITIAL_A:
        d_sums += sequence * steps * S * R
    M += sequence * R * R
    # Powers of λ: to read one costs less than to work it out.
    powers = scratch + sequence * (CHUNK + (1 + STEPS * (1 + S)) * R)
    place = powers + CHUNK
    products = place + R
    pairs = products + STEPS * R
    dh = tl.zeros([BLOCK], TYPE)
    if GIVEN_H:
        dh = tl.load(d_h + sequence * R + units, mask=inside, other=0.0).to(TYPE)
    clear(d_z, count, steps, units, inside, R, 1)
    if INITIAL_A:
        clear(d_sums, count, steps, units, inside, R, S)
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
    if MEMORY:
        exponents = tl.arange(0, CHUNK)
        tl.store(powers + exponents, power(decay, exponents))
        tl.debug_barrier()
    i = tl.arange(0, STEPS)
    pair = tl.arange(0, PAIRS)
    blocks = tl.cdiv(count, STEPS)
    for block in range(blocks):
        begin = (blocks - 1 - block) * STEPS
        within = tl.minimum(STEPS, count - begin)  # steps of this block
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
            there = (i < within - 1)[None, :] & inside[:, None]
            H_dots = tl.load(hidden + (first + 1 + i)[None, :] * R + (units * one)[:, None], mask=there, other=0.0)
            if (GIVEN_A or not ONE_BLOCK) and known:
                project(M, hidden, last, begin, count, products, R, SIDE, TYPE, PRECISION)
            there = (pair < within * S)[:, None] & inside[None, :]
            Q = tl.load(queries + (first * S + pair)[:, None] * R + units[None, :], mask=there, other=0.0)
            U = tl.zeros([PAIRS, BLOCK], TYPE)
            q_h = dot_products(Q, H, hidden + (first + 1) * R, within - 1, units, inside, R, FEW_PAIRS)  # q_mᵀ h_i
            u_h = tl.zeros([PAIRS, STEPS], TYPE)  # ū_mᵀ h_i
        for step in range(within):
            j = within - 1 - step
            at = tl.cast(begin + j, tl.int64)
            earlier = tl.maximum(at - 1, 0)
            before = next_before
            next_before = tl.load(hidden + earlier * R + units, mask=inside, other=0.0)
            if MEMORY and (GIVEN_A or not ONE_BLOCK):
                projected = tl.load(products + j * R + units, mask=inside & known, other=0.0)
            if GIVEN_OUT:
                dh += next_out.to(TYPE)
                next_out = tl.load(d_out + earlier * R + units, mask=inside, other=0.0)
            if MEMORY:
                recalled = recall(powers, j, U, Q, u_h, q_h, S)
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
                    dots = tl.sum(H_dots * du[:, None], 0)
                    this_pair = pair[:, None] == j * S + s
                    u_h = tl.where(this_pair, dots[None, :], u_h)
                    U = tl.where(this_pair, du[None, :], U)
                    dh = tl.sum(folded(H * (fading * dots)[:, None], STEPS, BLOCK), 0)
                    if not ON_CHIP:
                        this = pairs + (j * S + s) * R
                        share(this, du, units, inside)
                        if offset > 0:  # what lies in the chunk before this block
                            before_block = hidden + (first - offset + 1) * R
                            dh += tl.load(powers + j) * attend(
                                before_block, offset, du, decay, rate, units, inside, R, STEPS
                            )
                        if INITIAL_A or chunk > 0:
                            dh += tl.load(powers + offset + j) * streamed_product(
                                A, this, units, inside, R, BLOCK, ROWS
                            )
                h = query
            dz += dh * slope(h, TANH)
            tl.store(d_z + at * R + units, dz, mask=inside)
            if ON_CHIP:
                dh = product(W, dz, BLOCK)
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
