"""§2 Survey of prior work."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastweights.cells.fast_weights import FastWeightRNN
from fastweights.cells.lstm import LSTM
from fastweights.claims._held import exact_pairs, fast_weight_rank, lstm_rank, outer_product_crosstalk
from fastweights.claims._pictures_training import draw_gradient_norms, draw_numbers_held
from fastweights.claims._recurrences import lstm_step, random_weights
from fastweights.claims.base import Evidence, Verdict, above, below, claim, close, fact
from fastweights.dynamics import decay_exponent, gradient_norms, memory_paths
from fastweights.memories import crosstalk_variance

_LAGS, _SETTLED = 600, 200
# If the norms stay within a factor 2 of their trend, a line fitted through K of their logarithms is off by 1.5 ln 2/K.
_SLOPE_TOLERANCE = 1.5 * math.log(2) / (_LAGS - _SETTLED)


@claim(
    "2/gradients-vanish-or-explode",
    source="§2, “the error gradients end up becoming very large or small”",
    printed="Over long sequences the gradients of an RNN become very large or very small.",
    corrected="The gradients of a linear or settled RNN fall or grow as ρ(W)^lag, ρ the spectral radius; an orthogonal "
    "W keeps them.",
    verdict=Verdict.HOLDS_CORRECTED,
    figure=draw_gradient_norms,
)
def gradients_vanish_or_explode() -> Evidence:
    draw = torch.Generator().manual_seed(2)
    orthogonal = torch.linalg.qr(torch.randn(50, 50, dtype=torch.float64, generator=draw)).Q
    fading, growing = (random_weights(50, math.exp(rate), draw) for rate in (-0.109, 0.109))

    def norms(W: Tensor, activation: str) -> Tensor:
        outer = torch.tanh if activation == "tanh" else torch.nn.Identity()
        zeros = W.new_zeros(1, _LAGS, len(W))
        return gradient_norms(
            lambda state, x: (outer(W @ state[0] + x),), (zeros[:, 0],), zeros, lambda state: state[0].sum()
        )[0][:, 0]

    kept = norms(orthogonal, "linear")
    change = (kept / kept[0]).log().abs().max().item()

    def rate(W: Tensor, activation: str) -> float:
        return decay_exponent(norms(W, activation).log(), first_lag=_SETTLED).slope

    return Evidence(
        printed=(above("|ln(norm at lag k / norm at lag 0)|, k ≤ 600, orthogonal W", change, math.log(1e6)),),
        corrected=(
            below("the same, to be 0 for an orthogonal W", change, 1e-10),
            close("log slope against lag, tanh, ρ(W) = e^−0.109", rate(fading, "tanh"), -0.109, _SLOPE_TOLERANCE),
            close("log slope against lag, linear, ρ(W) = e^0.109", rate(growing, "linear"), 0.109, _SLOPE_TOLERANCE),
            above("‖W‖₂ of the network whose gradients vanish", torch.linalg.matrix_norm(fading, 2).item(), 1.0),
        ),
    )


@claim(
    "2/lstm-constant-derivative",
    source="§2, “whose activation function has a constant derivative”",
    printed="The activation function of the LSTM has a constant derivative.",
    corrected="The cell's self-loop has: ∂c_t/∂c_{t−1} with h_{t−1} held is 1 in the LSTM of 1997, and the forget gate "
    "f_t with one.",
    verdict=Verdict.HOLDS_CORRECTED,
    note="Hochreiter & Schmidhuber 1997 (constant error carousel); Gers, Schmidhuber & Cummins 2000 (forget gate).",
)
def lstm_constant_derivative() -> Evidence:
    draw = torch.Generator().manual_seed(3)
    size, steps = 8, 30
    W = torch.randn(4 * size, size, dtype=torch.float64, generator=draw)
    z = torch.randn(steps, 4 * size, dtype=torch.float64, generator=draw)
    rest = W.new_zeros(size)
    slopes = torch.stack([_input_slope(W.new_tensor(value)) for value in (0.0, 1.0, 2.0)])
    open_W, open_z = _without_forget_gate(W, z)
    carousel = memory_paths(lstm_step(open_W), rest, rest, open_z).direct
    gated = memory_paths(lstm_step(W), rest, rest, z).direct
    return Evidence(
        printed=(
            below("spread of ∂c/∂g, the input's tanh, at g = 0, 1, 2", float(slopes.max() - slopes.min()), 1e-12),
        ),
        corrected=(
            close(
                "max |∂c_T/∂c_{T−k} − I|, k ≤ 30, f = 1", (carousel - torch.eye(size)).abs().max().item(), 0.0, 1e-12
            ),
            close(
                "max |∂c_T/∂c_{T−k} − diag(f_T ⋯ f_{T−k+1})|, k ≤ 30",
                (gated - torch.diag_embed(_forget_gates(W, z).flip(0).cumprod(0))).abs().max().item(),
                0.0,
                1e-12,
            ),
        ),
    )


def _input_slope(g: Tensor) -> Tensor:
    """∂c/∂g of one LSTM unit whose other gate sums are 0."""
    rest = g.double().new_zeros(1)

    def cell(g: Tensor) -> Tensor:
        gates = torch.cat((rest, rest, g.reshape(1), rest))
        return lstm_step(rest.new_zeros(4, 1))(rest, rest, gates)[1][0]

    slope: Tensor = torch.func.grad(cell)(g.double())
    return slope


def _without_forget_gate(W: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The LSTM of 1997: a forget gate with sum 40 and no recurrent weights is 1 to the last bit."""
    W, z, size = W.clone(), z.clone(), W.shape[1]
    W[size : 2 * size] = 0
    z[:, size : 2 * size] = 40
    return W, z


def _forget_gates(W: Tensor, z: Tensor) -> Tensor:
    """f_1 … f_T of the LSTM started at zero."""
    h = c = W.new_zeros(W.shape[1])
    gates, step = [], lstm_step(W)
    for z_t in z:
        gates.append(torch.sigmoid(W @ h + z_t).chunk(4)[1])
        h, c = step(h, c, z_t)
    return torch.stack(gates)


@claim(
    "2/lstm-neither-explodes-nor-vanishes",
    source="§2, “and thus does not explode or vanish”",
    printed="The gradient through an LSTM's cell neither explodes nor vanishes.",
    corrected="The direct path through the cell without a forget gate neither explodes nor vanishes. The total "
    "derivative can explode through h and the gates, and a forget gate below 1 makes the direct path vanish.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def lstm_neither_explodes_nor_vanishes() -> Evidence:
    draw = torch.Generator().manual_seed(4)
    size, steps = 8, 60
    W = 4 * torch.randn(4 * size, size, dtype=torch.float64, generator=draw) / size**0.5
    rest, silence = W.new_zeros(size), W.new_zeros(steps, 4 * size)
    open_W, open_z = _without_forget_gate(W, silence)
    without_gate = memory_paths(lstm_step(open_W), rest, rest, open_z)
    half_open = memory_paths(lstm_step(0 * W), rest, rest, silence)

    def change(path: Tensor) -> float:
        return float(torch.linalg.matrix_norm(path, 2).log().abs().max())

    million = math.log(1e6)
    return Evidence(
        printed=(
            below("|ln ‖total ∂c_T/∂c_{T−k}‖₂|, k ≤ 60, f = 1, at rest", change(without_gate.total), million),
            below("|ln ‖∂c_T/∂c_{T−k}‖₂|, k ≤ 60, f = ½", change(half_open.total), million),
        ),
        corrected=(
            below("|ln ‖direct path‖₂|, k ≤ 60, f = 1 and the same W", change(without_gate.direct), 1e-12),
            close("|ln ‖direct path‖₂| at most, f = ½", change(half_open.direct), steps * math.log(2), 1e-10),
        ),
    )


@claim(
    "2/lstm-memory-is-linear-in-units",
    source="§2, “limited to an amount proportional to the number of hidden units”",
    printed="What an LSTM remembers is proportional to its number H of hidden units.",
    verdict=Verdict.HOLDS,
    note="Measured as the rank of ∂(h, c)_T/∂(z_1 … z_T): how many numbers of the past the state holds independently.",
)
def lstm_memory_is_linear_in_units() -> Evidence:
    ranks = {size: lstm_rank(size) for size in (4, 8, 16)}
    return Evidence(
        printed=tuple(
            fact(f"independent numbers held, H = {size}", rank == 2 * size, f"{rank}, expected 2H = {2 * size}")
            for size, rank in ranks.items()
        )
        + tuple(
            fact(
                f"numbers in the layer's state, H = {size}",
                (count := _numbers(LSTM(1, size).state_sizes)) == 2 * size,
                f"{count}, expected 2H = {2 * size}",
            )
            for size in (50, 100, 200)
        ),
    )


@claim(
    "2/fast-weights-memory-is-quadratic",
    source="Ba et al. (2016), §1, cited in §2",
    printed="Fast weights hold O(H²) numbers: H × H fast weights recall a number of pairs proportional to H, each of H "
    "numbers.",
    verdict=Verdict.HOLDS,
    note="A, made of h hᵀ, is symmetric, and layer norm fixes the mean of what enters f: a state (h, A) holds "
    "H − 1 + H(H+1)/2 independent numbers.",
    figure=draw_numbers_held,
)
def fast_weights_memory_is_quadratic() -> Evidence:
    measurements = []
    for size in (3, 4, 6):
        expected, rank = size - 1 + size * (size + 1) // 2, fast_weight_rank(size)
        measurements.append(
            fact(f"independent numbers held, H = {size}", rank == expected, f"{rank}, expected {expected}")
        )
    for size in (50, 100, 200):
        count = _numbers(FastWeightRNN(1, size).state_sizes)
        measurements.append(
            fact(f"numbers in the layer's state, H = {size}", count == size + size**2, f"{count}, expected H + H²")
        )
        pairs = exact_pairs(size)
        measurements.append(fact(f"pairs recalled exactly, best A, H = {size}", pairs == size, f"{pairs}, expected H"))
        variance, error = outer_product_crosstalk(size, 1 + size // 5)
        measurements.append(
            close(
                f"crosstalk variance of H/5 + 1 pairs, outer products, H = {size}; ± 4 standard errors",
                variance,
                crosstalk_variance(1 + size // 5, size),
                4 * error,
            )
        )
    return Evidence(printed=tuple(measurements))


def _numbers(sizes: tuple[tuple[int, ...], ...]) -> int:
    return sum(math.prod(size) for size in sizes)
