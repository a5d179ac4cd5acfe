"""The pictures of the claims about gradients, layer norm and what a state holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastweights.claims._held import exact_pairs, fast_weight_rank, lstm_rank
from fastweights.claims._placed_norm import misplaced_norms, whole_norms
from fastweights.claims._recurrences import fast_weight_step, irnn_step, lstm_step, random_weights
from fastweights.dynamics import gradient_norms
from fastweights.dynamics.gradient_flow import State, StateStep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by all readers.
_BLACK, _ORANGE, _SKY, _GREEN, _BLUE, _VERMILION = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00"
_UNITS, _STEPS, _RATE = 50, 150, -0.109


def draw_gradient_norms(figure: Figure) -> None:
    """‖∂L/∂state‖ against the lag for four networks, and the line e^{k ln ρ(W)}."""
    axes = figure.subplots()
    lags = torch.arange(_STEPS + 1)
    curves = {
        "RNN, tanh, ln ρ(W) = −0.109": (_rnn_norms(), _BLUE),
        "IRNN, W = I": (_irnn_norms(), _ORANGE),
        "LSTM, forget bias 1": (_lstm_norms(), _GREEN),
        "fast weights, λ = 0.95, η = 0.5": (_fast_weight_norms(), _VERMILION),
    }
    for name, (norms, colour) in curves.items():
        axes.semilogy(lags, norms / norms[0], color=colour, label=name)
    rnn = curves["RNN, tanh, ln ρ(W) = −0.109"][0]
    trend = (_RATE * (lags - _STEPS)).exp() * rnn[-1] / rnn[0]
    axes.semilogy(lags, trend, "--", color=_BLACK, label="slope ln ρ(W)")
    axes.set_xlabel("lag k (steps)")
    axes.set_ylabel("‖∂L/∂state(T−k)‖ / ‖∂L/∂state(T)‖")
    axes.legend()


def _state_norms(step: StateStep, state: State, inputs: Tensor) -> Tensor:
    """Norm of the gradient of Σ h_T with respect to the whole state at every lag."""
    parts = gradient_norms(step, tuple(part[None] for part in state), inputs[None], lambda state: state[0].sum())
    norms: Tensor = torch.stack(parts).norm(dim=0)
    return norms[:, 0]


def _inputs(width: int) -> tuple[torch.Generator, Tensor]:
    draw = torch.Generator().manual_seed(20)
    return draw, torch.randn(_STEPS, width, dtype=torch.float64, generator=draw)


def _rnn_norms() -> Tensor:
    draw, x = _inputs(_UNITS)
    W = random_weights(_UNITS, math.exp(_RATE), draw)
    return _state_norms(lambda state, x: (torch.tanh(W @ state[0] + x),), (W.new_zeros(_UNITS),), 0 * x)


def _irnn_norms() -> Tensor:
    _, x = _inputs(_UNITS)
    step = irnn_step(torch.eye(_UNITS, dtype=torch.float64))
    return _state_norms(lambda state, x: (step(state[0], x),), (x.new_zeros(_UNITS),), x.abs())


def _lstm_norms() -> Tensor:
    draw, x = _inputs(4 * _UNITS)
    W = (2 * torch.rand(4 * _UNITS, _UNITS, dtype=torch.float64, generator=draw) - 1) / _UNITS**0.5
    x[:, _UNITS : 2 * _UNITS] += 1
    step, rest = lstm_step(W), W.new_zeros(_UNITS)
    return _state_norms(lambda state, x: step(state[0], state[1], x), (rest, rest), x)


def _fast_weight_norms() -> Tensor:
    _, x = _inputs(_UNITS)
    step = fast_weight_step(0.05 * torch.eye(_UNITS, dtype=torch.float64))
    return _state_norms(step, (x.new_zeros(_UNITS), x.new_zeros(_UNITS, _UNITS)), x)


def draw_numbers_held(figure: Figure) -> None:
    """Numbers held against hidden units: an LSTM's state, a fast-weight state, and the pairs of an H × H matrix."""
    axes = figure.subplots()
    small, large = torch.tensor([3, 4, 6, 8, 12, 16]), torch.tensor([16, 32, 64, 128])
    held = {
        "LSTM, rank of ∂state/∂inputs": (small, [lstm_rank(int(size)) for size in small], "o", _GREEN),
        "fast weights, rank of ∂state/∂inputs": (
            small[:4],
            [fast_weight_rank(int(s)) for s in small[:4]],
            "s",
            _VERMILION,
        ),
        "best A, pairs recalled exactly × H": (large, [exact_pairs(int(s)) * int(s) for s in large], "^", _BLUE),
    }
    for name, (sizes, numbers, marker, colour) in held.items():
        axes.loglog(sizes, numbers, marker, color=colour, label=name)
    units = torch.arange(3.0, 129.0)
    axes.loglog(units, 2 * units, "-", color=_GREEN, label="2H")
    axes.loglog(units, units * (units + 1) / 2 + units - 1, "-", color=_VERMILION, label="H(H+1)/2 + H − 1")
    axes.loglog(units, units**2, "-", color=_BLUE, label="H²")
    axes.set_xlabel("hidden units H")
    axes.set_ylabel("independent numbers held")
    axes.legend()


def draw_placed_norm(figure: Figure) -> None:
    """‖h_t‖ with layer norm of the whole sum and of the slow term alone, and the bound √R of the first."""
    axes = figure.subplots()
    misplaced, whole = misplaced_norms(steps=4), whole_norms(steps=4)
    steps = torch.arange(1, 5)
    axes.semilogy(steps, misplaced, "o-", color=_VERMILION, label="LN of the slow term alone")
    axes.semilogy(steps, whole, "s-", color=_BLUE, label="LN of the whole sum (eq. 5)")
    axes.axhline(50**0.5, linestyle="--", color=_SKY, label="√R")
    axes.set_xticks(steps.tolist())
    axes.set_xlabel("time step t")
    axes.set_ylabel("‖h(t)‖₂")
    axes.legend()
