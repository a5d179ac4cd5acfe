"""A kernel that does nothing but raise λ to powers."""

import triton
import triton.language as tl

from fastweights.kernels.fast_weights.triton_parts import power


@triton.jit
def powers(base, out, COUNT: tl.constexpr):
    n = tl.arange(0, COUNT)
    tl.store(out + n, power(tl.load(base), n))
