"""The recurrence of the associative LSTM (Danihelka et al. 2016), the specification of its backends.

A complex vector of N entries is a real one of H = 2N: first the real parts, then the imaginary parts.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import layer_norm

from fastweights.types import AssociativeLSTMState


def bound(a: Float[Tensor, "*batch H"]) -> Float[Tensor, "*batch H"]:
    """a / max(1, |a|), entry by entry: no complex number keeps a modulus above one."""
    real, imaginary = a.chunk(2, dim=-1)
    # Clamped before the root, whose derivative at zero is infinite.
    return a * _both_halves((real.square() + imaginary.square()).clamp(min=1).rsqrt())


def sum_of_products(
    a: Float[Tensor, "*#batch H"], b: Float[Tensor, "*#batch H"], dim: int
) -> Float[Tensor, "*fewer H"]:
    """Σ a ⊛ b over dimension `dim`, ⊛ the complex product entry by entry; leading dimensions broadcast."""
    (a_real, a_imaginary), (b_real, b_imaginary) = a.chunk(2, dim=-1), b.chunk(2, dim=-1)
    real = (a_real * b_real - a_imaginary * b_imaginary).sum(dim)
    imaginary = (a_real * b_imaginary + a_imaginary * b_real).sum(dim)
    return torch.cat([real, imaginary], dim=-1)


def associative_lstm(
    z: Float[Tensor, "B T Z"],
    W: Float[Tensor, "Z H"],
    P: Int[Tensor, "copies N"],
    gain: Float[Tensor, " Z"] | None,
    bias: Float[Tensor, " Z"] | None,
    state: AssociativeLSTMState | None,
    lengths: Int[Tensor, " B"] | None,
    *,
    heads: int,
    norm_epsilon: float,
) -> tuple[Float[Tensor, "B T H"], AssociativeLSTMState]:
    """Danihelka et al. (2016) with K heads; see `fastweights.kernels.associative_lstm` for the arguments.

        c_s ← σ(f) ⊙ c_s + Σ_k (P_s r_i^k) ⊛ (σ(i^k) ⊙ u^k)
        h   = Σ_k σ(o^k) ⊙ bound(mean_s (P_s r_o^k) ⊛ c_s)

    where f and, for every head k, i, o, bounded r_i, r_o and u are blocks of z(t+1) + LN[W h(t)].
    """
    batch, hidden, copies = z.shape[0], W.shape[1], P.shape[0]
    half = hidden // 2
    permutation = torch.cat([P, P + half], dim=-1).expand(batch, heads, 2, copies, hidden)  # of r_i, r_o in every head
    h, c = state or (z.new_zeros(batch, hidden), z.new_zeros(batch, copies, hidden))
    outputs = []
    for t, z_t in enumerate(z.unbind(1)):
        recurrent = h @ W.T
        if gain is not None:
            recurrent = layer_norm(recurrent, gain.shape, gain, bias, norm_epsilon)
        f, per_head = torch.tensor_split(z_t + recurrent, (half,), dim=-1)
        gates, vectors = torch.tensor_split(per_head.reshape(batch, heads, 4 * hidden), (hidden,), dim=-1)
        i, o = torch.sigmoid(gates).chunk(2, dim=-1)
        keys, u = torch.tensor_split(bound(vectors.reshape(batch, heads, 3, hidden)), (2,), dim=2)
        r_i, r_o = keys.unsqueeze(3).expand_as(permutation).gather(-1, permutation).unbind(2)  # (B, K, copies, H) each
        written = sum_of_products(r_i, _both_halves(i).unsqueeze(2) * u, dim=1)
        c_next = _both_halves(torch.sigmoid(f)).unsqueeze(1) * c + written
        read = bound(sum_of_products(r_o, c_next.unsqueeze(1), dim=2) / copies)
        h_next = (_both_halves(o) * read).sum(1)
        if lengths is None:
            h, c = h_next, c_next
            outputs.append(h)
        else:
            active = (t < lengths).unsqueeze(-1)
            h, c = torch.where(active, h_next, h), torch.where(active.unsqueeze(-1), c_next, c)
            outputs.append(torch.where(active, h_next, 0.0))
    return torch.stack(outputs, dim=1), AssociativeLSTMState(h, c)


def _both_halves(gate: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch H"]:
    """One real number for both halves of each complex entry."""
    return torch.cat([gate, gate], dim=-1)
