"""The additive model with graded units (Cohen & Grossberg 1983; Hopfield 1984): recall as a flow down an energy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fastweights.errors import UsageError
from fastweights.memories import _runge_kutta, storage
from fastweights.memories._inputs import ArrayLike, at_least, positive, rows, signs, square, vectors


class Flow(NamedTuple):
    """States of B probes, (steps + 1, B, N), at `times`, (steps + 1,), and their energy, (steps + 1, B)."""

    times: Float[Tensor, " steps"]
    states: Float[Tensor, "steps B N"]
    energy: Float[Tensor, "steps B"]


class ContinuousHopfield:
    """dx/dt = −x/τ + W v + b with v = f(x) = tanh(g x), and the energy

        E(x) = −½ vᵀW v − bᵀv + (1/τ) Σ_i ∫₀^{v_i} f⁻¹(u) du,    dE/dt = −Σ_i f'(x_i) (dx_i/dt)² ≤ 0 for symmetric W.

    Args:
        gain: g > 0; the sharper, the closer to the binary network.
        time_constant: τ > 0.
    """

    def __init__(self, gain: float = 4.0, time_constant: float = 1.0) -> None:
        self.gain = positive("gain", gain)
        self.time_constant = positive("time_constant", time_constant)
        self._weights: Tensor | None = None
        self._bias: Tensor | None = None

    @staticmethod
    def from_weights(
        weights: ArrayLike, bias: ArrayLike | None = None, *, gain: float = 4.0, time_constant: float = 1.0
    ) -> ContinuousHopfield:
        """The network with the given W, (N, N), symmetric or not, and b, (N,) or zero."""
        network = ContinuousHopfield(gain, time_constant)
        W = square("weights", weights)
        network._weights = W
        network._bias = W.new_zeros(len(W)) if bias is None else vectors("bias", bias, size=len(W), like=W)
        return network

    @property
    def weights(self) -> Float[Tensor, "N N"]:
        """W; UsageError while nothing is stored."""
        if self._weights is None:
            raise UsageError("ContinuousHopfield is empty: call store before recall")
        return self._weights

    @property
    def bias(self) -> Float[Tensor, " N"]:
        """b."""
        return self.weights.new_zeros(len(self.weights)) if self._bias is None else self._bias

    def store(self, patterns: ArrayLike) -> ContinuousHopfield:
        """Add ±1 patterns, (P, N), by Hebb's rule without self-coupling, and return the network itself."""
        old = self._weights
        new = signs("patterns", patterns, size=None if old is None else len(old), like=old)
        zeros = new.new_zeros(new.shape[1], new.shape[1])
        self._weights = storage.hebb(zeros if old is None else old, new).fill_diagonal_(0)
        return self

    def output(self, states: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch N"]:
        """v = tanh(g x)."""
        return torch.tanh(self.gain * states)

    def field(self, states: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch N"]:
        """dx/dt = −x/τ + W f(x) + b."""
        return -states / self.time_constant + self.output(states) @ self.weights.T + self.bias

    def energy(self, states: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch"]:
        """E(x). With v = tanh(g x) the integral is x v − ln cosh(g x)/g, which no x overflows in the form used here."""
        v = self.output(states)
        u = (self.gain * states).abs()
        log_cosh = u + torch.log1p(torch.exp(-2 * u)) - torch.log(u.new_tensor(2.0))
        integral = (states * v - log_cosh / self.gain).sum(dim=-1) / self.time_constant
        return -0.5 * ((v @ self.weights) * v).sum(dim=-1) - v @ self.bias + integral

    def relax(self, probes: ArrayLike, *, duration: float = 20.0, steps: int = 400) -> Flow:
        """Follow the flow from x(0) = probes, (B, N), by Runge–Kutta steps of duration/steps.

        Raises UsageError for probes of another shape, or a duration or number of steps that is not positive.
        """
        start = rows("probes", probes, size=len(self.weights), like=self.weights)
        positive("duration", duration)
        at_least("steps", steps, 1)
        states = _runge_kutta.trajectory(self.field, start, duration=duration, steps=steps)
        times = torch.linspace(0, duration, steps + 1, dtype=start.dtype, device=start.device)
        return Flow(times, states, self.energy(states))

    def recall(self, probes: ArrayLike, *, duration: float = 20.0, steps: int = 400) -> Float[Tensor, "B N"]:
        """The outputs v, within (−1, 1), where the flow ends; arguments and errors as for `relax`."""
        return self.output(self.relax(probes, duration=duration, steps=steps).states[-1])
