"""§5 Feedback: a loop that is stable or diverges."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastweights.claims import _pictures_dynamics as pictures
from fastweights.claims.base import Evidence, Verdict, below, claim, close, fact
from fastweights.dynamics import feedback

_MEAN, _DEVIATION, _RUNS = 0.1, 0.5, 4000


def _noise(runs: int, steps: int, mean: float = _MEAN) -> Tensor:
    draw = torch.Generator().manual_seed(5)
    return mean + _DEVIATION * torch.randn(runs, steps, dtype=torch.float64, generator=draw)


def _weights(weight: float, runs: int) -> Tensor:
    return torch.full((runs,), weight, dtype=torch.float64)


def _by_sum(weight: float, inputs: Tensor) -> Tensor:
    """y(n) = Σ_{l ≤ n} w^{l+1} x(n−l) for one input sequence."""
    taps = [feedback.impulse_response(weight, lag) for lag in range(len(inputs))]
    numbers = inputs.tolist()
    sums = [math.fsum(taps[lag] * numbers[n - lag] for lag in range(n + 1)) for n in range(len(numbers))]
    return torch.tensor(sums, dtype=torch.float64)


@claim(
    "5/operator-series",
    source="§5, y_k(n) = w Σ wˡ z⁻ˡ x_j(n) = Σ w^{l+1} x_j(n−l)",
    printed="The loop's operator w (1 − w z⁻¹)⁻¹ is the series Σ w^{l+1} z⁻ˡ, so that y(n) = Σ w^{l+1} x(n−l).",
    corrected="The series of numbers converges for |z| > |w|; y(n) = Σ_{l ≤ n} w^{l+1} x(n−l) holds for every w if the "
    "loop is at rest before n = 0, and otherwise w^{n+1} y(−1) comes on top.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def operator_series() -> Evidence:
    inputs = _noise(1, 30)[0]

    def series(weight: float, z: float) -> float:
        return math.fsum(feedback.impulse_response(weight, lag) * z**-lag for lag in range(200))

    def operator(weight: float, z: float) -> float:
        return weight / (1 - weight / z)

    def error(weight: float, before: float, carried: float) -> float:
        """Of the loop that starts at y(−1) = before, against the sum plus w^{n+1} times what is said to be carried."""
        start = torch.tensor([before], dtype=torch.float64)
        y = feedback.simulate(_weights(weight, 1), inputs.unsqueeze(0), start)[0]
        rest = [carried * feedback.impulse_response(weight, n) for n in range(len(inputs))]
        expected = _by_sum(weight, inputs) + torch.tensor(rest, dtype=torch.float64)
        return float(((y - expected).abs() / expected.abs().clamp(min=1)).max())

    return Evidence(
        printed=(
            close("200 terms of Σ w^{l+1} z⁻ˡ, w = 1.5, z = 1", series(1.5, 1.0), operator(1.5, 1.0), 1e-9),
            below("loop from y(−1) = 1 against the sum, w = 0.9, relative", error(0.9, 1.0, 0.0), 1e-12),
        ),
        corrected=(
            close("200 terms of Σ w^{l+1} z⁻ˡ, w = 0.9, z = 1.2", series(0.9, 1.2), operator(0.9, 1.2), 1e-9),
            *(
                below(f"loop from rest against the sum, w = {w}, relative", error(w, 0.0, 0.0), 1e-12)
                for w in (-1.5, 0.9, 2)
            ),
            below("loop from y(−1) = 1 against the sum and w^{n+1}, w = 0.9, relative", error(0.9, 1.0, 1.0), 1e-12),
        ),
    )


@claim(
    "5/decay",
    source="§5, case (1)",
    printed="If |w| < 1, the effect of the signal decays towards 0.",
    corrected="If |w| < 1, the effect of x(0) decays as w^{n+1}; the output goes on, with mean w μ/(1 − w) and "
    "variance σ² w²/(1 − w²).",
    verdict=Verdict.HOLDS_CORRECTED,
    figure=pictures.draw_regimes,
)
def decay() -> Evidence:
    printed, corrected = [], []
    for weight in (0.8, -0.8):
        inputs = _noise(_RUNS, 120)
        without = inputs.clone()
        without[:, 0] = 0
        weights = _weights(weight, _RUNS)
        y, y_without = feedback.simulate(weights, inputs), feedback.simulate(weights, without)
        stationary = feedback.stationary_response(weight, _MEAN, _DEVIATION**2)
        error = math.sqrt(stationary.variance / _RUNS)
        first = inputs[:, 0]
        left = abs(feedback.impulse_response(weight, 119)) * float(first.abs().max())
        printed.append(
            below(f"deviation of y(119), against what x(0) leaves, w = {weight}", float(y[:, -1].std()), left)
        )
        off = (y - y_without)[:, 38] - feedback.impulse_response(weight, 38) * first
        corrected += [
            below(f"effect of x(0) on y(38) against w³⁹ x(0), w = {weight}", float(off.abs().max()), 1e-13),
            close(f"mean of y(119), {_RUNS} runs, w = {weight}", float(y[:, -1].mean()), stationary.mean, 5 * error),
            close(
                f"variance of y(119), {_RUNS} runs, w = {weight}",
                float(y[:, -1].var()),
                stationary.variance,
                5 * stationary.variance * math.sqrt(2 / _RUNS),
            ),
        ]
    return Evidence(tuple(printed), tuple(corrected))


@claim(
    "5/linear-trend",
    source="§5, case (2)",
    printed="If w = 1 and the mean of the input is positive, y diverges with a linear trend.",
    verdict=Verdict.HOLDS,
    note="The mean must not be zero: then y is a random walk, whose deviation grows as √n.",
)
def linear_trend() -> Evidence:
    steps = 400
    y = feedback.simulate(_weights(1.0, _RUNS), _noise(_RUNS, steps))
    walk = feedback.simulate(_weights(1.0, _RUNS), _noise(_RUNS, steps, mean=0.0))
    expected = feedback.noise_response(1.0, _MEAN, _DEVIATION**2, steps - 1)
    error = math.sqrt(expected.variance / _RUNS)
    middle, end = (float(y[:, n].mean()) for n in (steps // 2 - 1, steps - 1))
    return Evidence(
        printed=(
            close(f"mean of y(399), {_RUNS} runs", end, expected.mean, 5 * error),
            # y(399) − y(199) and y(199) are independent, each of half the variance: their difference errs by `error`.
            close("mean gained from y(199) to y(399) over y(199)'s", (end - middle) / middle, 1, 5 * error / middle),
            close("the same without a mean, n = 399", float(walk[:, -1].mean()), 0.0, 5 * error),
            close(
                "variance of that random walk over σ² (n + 1)",
                float(walk[:, -1].var()) / expected.variance,
                1.0,
                5 * math.sqrt(2 / _RUNS),
            ),
        )
    )


@claim(
    "5/exponential-growth",
    source="§5, case (3)",
    printed="If w > 1, y diverges with an exponential trend.",
    verdict=Verdict.HOLDS,
)
def exponential_growth() -> Evidence:
    measured = []
    for weight in (1.1, 1.5):
        y = feedback.simulate(_weights(weight, 8), _noise(8, 120))
        rates = (y[:, -1] / y[:, -21]).abs().log() / 20
        worst = float(rates[(rates - math.log(weight)).abs().argmax()])
        measured.append(close(f"ln |y(119)/y(99)|/20, worst of 8 runs, w = {weight}", worst, math.log(weight), 1e-3))
    return Evidence(printed=tuple(measured))


@claim(
    "5/three-cases",
    source="§5, “We observe three cases”",
    printed="The cases |w| < 1, w = 1 and w > 1 are all there are.",
    corrected="w < 0 alternates: w = −1 turns an impulse into a 2-cycle and noise into a variance σ² (n + 1); w < −1 "
    "grows as |w|ⁿ. The response to a unit step is w (1 − w^{n+1})/(1 − w), and n + 1 at w = 1.",
    verdict=Verdict.HOLDS_CORRECTED,
)
def three_cases() -> Evidence:
    named = {"no feedback", "decay", "alternating decay", "linear trend", "exponential growth"}
    weights = torch.linspace(-2, 2, 401, dtype=torch.float64)
    covered = sum(feedback.regime(float(w)) in named for w in weights) / len(weights)
    impulse = torch.zeros(1, 40, dtype=torch.float64)
    impulse[0, 0] = 1
    cycle = feedback.simulate(_weights(-1.0, 1), impulse)[0]
    noisy = feedback.simulate(_weights(-1.0, _RUNS), _noise(_RUNS, 100))
    variance = feedback.noise_response(-1.0, _MEAN, _DEVIATION**2, 99).variance
    growing = feedback.simulate(_weights(-1.5, 1), impulse)[0]
    steps = torch.ones(len(weights), 20, dtype=torch.float64)
    responses = feedback.simulate(weights, steps)[:, -1]
    expected = torch.tensor([feedback.step_response(float(w), 19) for w in weights], dtype=torch.float64)
    return Evidence(
        printed=(close("share of the weights from −2 to 2 that the three cases name", covered, 1.0, 0.0),),
        corrected=(
            fact(
                "w = −1: an impulse gives −1, 1, −1, 1, … for ever",
                torch.equal(cycle, cycle.new_tensor([-1.0, 1.0] * 20)),
            ),
            close(
                f"w = −1: variance of y(99) over σ² (n + 1), {_RUNS} runs",
                float(noisy[:, -1].var()) / variance,
                1.0,
                5 * math.sqrt(2 / _RUNS),
            ),
            close("w = −1.5: ratio of successive outputs", float(growing[-1] / growing[-2]), -1.5, 1e-12),
            below(
                "step response after 20 steps against its closed form, 401 weights, relative",
                float(((responses - expected).abs() / expected.abs().clamp(min=1)).max()),
                1e-9,
            ),
        ),
    )
