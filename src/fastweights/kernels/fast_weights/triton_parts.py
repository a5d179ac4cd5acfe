"""What the Triton kernels of the recurrence share. A vector has BLOCK ≥ R entries, those past R being zero."""

from typing import no_type_check

import triton
import triton.language as tl

# Nothing is compiled anew for another B or T. Nor is alignment made use of: loads of several entries a thread would
# give matrices a layout in which every result has to cross threads once more.
SIZES = ["batch", "steps", "member_saved", "member_checkpoints"]
# Steps of a block of the backward pass.
BLOCK_STEPS = 16
STEPS = tl.constexpr(BLOCK_STEPS)


@triton.jit
@no_type_check
def setting(pointer, value, PER_MEMBER: tl.constexpr, TYPE: tl.constexpr):
    """λ, η or ε: the number, or where members have their own, this member's."""
    if PER_MEMBER:
        value = tl.load(pointer)
    return tl.cast(value, TYPE)


@triton.jit
@no_type_check
def length_of(pointer, sequence, steps, RAGGED: tl.constexpr):
    """How many steps of the sequence count; one out of range is clamped, for memory's sake."""
    count = steps
    if RAGGED:
        count = tl.minimum(tl.maximum(tl.load(pointer + sequence).to(tl.int32), 1), steps)
    return count


@triton.jit
@no_type_check
def kept(saved, member, row, batch, steps, member_saved, S: tl.constexpr, R: tl.constexpr, NORM: tl.constexpr):
    """Where what a sequence keeps for the backward pass begins, `row` being its number within its member.

    `saved` holds for a member, one after the other: h(t−1), (B, T, R); the queries h_0 … h_{S−1}, (B, T, S, R); with
    NORM the normalised sums, (B, T, S, R), and 1/σ, (B, T, S); the last h, (B, R). These five are returned.
    """
    total = tl.cast(batch, tl.int64) * steps * R
    hidden = saved + member * member_saved + row * steps * R
    queries = saved + member * member_saved + total + row * steps * S * R
    normed = queries + total * S
    inverse = saved + member * member_saved + total * (1 + 2 * S) + row * steps * S
    last = saved + member * member_saved + total * (1 + S) + row * R
    if NORM:
        last += total * S + tl.cast(batch, tl.int64) * steps * S
    return hidden, queries, normed, inverse, last


@triton.jit
@no_type_check
def clear(rows, begin, end, units, inside, R: tl.constexpr, EACH: tl.constexpr):
    """Zeros for the steps past a sequence's end, each having EACH of the rows of R numbers."""
    for row in range(tl.cast(begin, tl.int64) * EACH, tl.cast(end, tl.int64) * EACH):
        tl.store(rows + row * R + units, tl.zeros(units.shape, rows.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def activate(u, TANH: tl.constexpr):
    """f(u). The exponential of a number that is never positive cannot overflow."""
    if TANH:
        small = tl.exp(-2 * tl.abs(u))
        # Near zero 1 − small loses its digits; there the odd series is exact to rounding.
        square = u * u
        series = u * (1 - square * (1.0 / 3 - square * (2.0 / 15 - square * (17.0 / 315 - square * (62.0 / 2835)))))
        magnitude = (1 - small) / (1 + small)
        return tl.where(tl.abs(u) < 0.05, series, tl.where(u < 0, -magnitude, magnitude))
    else:
        return tl.maximum(u, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
@no_type_check
def slope(h, TANH: tl.constexpr):
    """f'(u), given h = f(u)."""
    if TANH:
        return 1 - h * h
    else:
        return tl.where(h > 0, 1.0, 0.0).to(h.dtype)


@triton.jit
@no_type_check
def sums(a, b, axis: tl.constexpr):
    """Both sums, in one exchange among the threads."""
    return tl.split(tl.sum(tl.join(a, b), axis))


@triton.jit
@no_type_check
def normalise(u, inside, epsilon, R: tl.constexpr):
    """(u − mean) / σ over the R units, and 1/σ."""
    mean = tl.sum(u, 0) / R
    centred = tl.where(inside, u - mean, 0.0)
    inverse = 1 / tl.sqrt(tl.sum(centred * centred, 0) / R + epsilon)
    return centred * inverse, inverse


@triton.jit
@no_type_check
def normalise_backward(gradient, normed, inverse, inside, R: tl.constexpr):
    """The gradient of u, given that of its normalised form."""
    along, mean = sums(gradient * normed, gradient, 0)
    return tl.where(inside, inverse * (gradient - mean / R - along / R * normed), 0.0)


@triton.jit
@no_type_check
def folded(terms, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Sums of every eighth of ROWS rows, (8, BLOCK): what a thread adds up without the others.

    Several products whose sum is wanted are added in this form, for one exchange among the threads instead of one each.
    """
    return tl.sum(tl.reshape(terms, [ROWS // 8, 8, BLOCK]), 0)


@triton.jit
@no_type_check
def product(transposed, x, BLOCK: tl.constexpr):
    """Σ_j transposed[j, i] x[j], in a few sums side by side, for one alone would wait for itself at every term."""
    return tl.sum(folded(transposed * x[:, None], BLOCK, BLOCK), 0)


@triton.jit
@no_type_check
def power(base, exponents):
    """base^n for integers 0 ≤ n < 128, by squaring: nothing but products, and no logarithm of zero."""
    result = tl.cast(1.0, base.dtype)
    for bit in tl.static_range(7):
        result = tl.where((exponents >> bit) & 1 != 0, result * base, result)
        base = base * base
    return result


@triton.jit
@no_type_check
def attend(rows, count, x, decay, rate, units, inside, R: tl.constexpr, TILE: tl.constexpr):
    """η Σ_{i<count} λ^{count−1−i} h_i (h_iᵀ x), h_i being the rows of R numbers from `rows` on."""
    total = tl.zeros_like(x)
    for first in range(0, count, TILE):
        i = first + tl.arange(0, TILE)
        past = i < count
        h = tl.load(rows + i[:, None] * R + units[None, :], mask=past[:, None] & inside[None, :], other=0.0)
        weights = tl.where(past, rate * power(decay, tl.maximum(count - 1 - i, 0)), 0.0)
        total += tl.sum(h * (weights * tl.sum(h * x[None, :], 1))[:, None], 0)
    return total


@triton.jit
@no_type_check
def share(place, x, units, inside):
    """Put a vector where every thread can read any part of it."""
    tl.debug_barrier()  # whoever still reads what was there
    tl.store(place + units, x, mask=inside)
    tl.debug_barrier()


@triton.jit
@no_type_check
def streamed_product(transposed, place, units, inside, R: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    """Σ_j transposed[j, i] x[j], the matrix and x in memory, x in its own type."""
    total = tl.zeros([ROWS, BLOCK], place.dtype.element_ty)
    for first in range(0, R, ROWS):
        j = first + tl.arange(0, ROWS)
        x = tl.load(place + j, mask=j < R, other=0.0)
        tile = tl.load(transposed + j[:, None] * R + units[None, :], mask=(j < R)[:, None] & inside[None, :], other=0.0)
        total += tile.to(x.dtype) * x[:, None]
    return tl.sum(total, 0)
