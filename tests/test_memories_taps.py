"""The tapped delay line and the gamma memory as layers: their reach, their theory, and each other's limit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d
from torch.nn.utils.rnn import pack_sequence
from torch.testing import assert_close

from fastweights import cells
from fastweights.cells.gamma_memory import GammaMemory
from fastweights.cells.tapped_delay import TappedDelayLine
from fastweights.errors import UsageError
from fastweights.memories.gamma_memory import depth, impulse_responses

F64 = torch.float64


def inputs(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_delay_line_is_a_convolution() -> None:
    layer = TappedDelayLine(3, 5, order=4, batch_first=True, dtype=F64)
    x = inputs(2, 9, 3)
    kernel = layer.weight_ih.unflatten(1, (5, 3)).permute(0, 2, 1).flip(2)
    expected = conv1d(torch.nn.functional.pad(x.mT, (4, 0)), kernel, layer.bias).mT
    assert_close(layer(x)[0], expected.relu())


@pytest.mark.parametrize(("name", "forgets"), [("tapped_delay", True), ("gamma_memory", False)])
def test_only_the_delay_line_ends_sharply(name: str, forgets: bool) -> None:
    layer = cells.load(name)(2, 6, order=3, batch_first=True, dtype=F64)  # type: ignore[call-arg]
    x = inputs(1, 10, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[0][0, 9].sum(), x)
    reach = gradient[0].norm(dim=1)
    assert (reach[6:] > 0).all()
    assert bool((reach[:6] == 0).all()) is forgets
    assert bool((reach[:6] > 0).all()) is not forgets


def test_gamma_memory_of_resolution_one_is_the_delay_line() -> None:
    line = TappedDelayLine(3, 5, order=4, layer_norm=True, batch_first=True, dtype=F64)
    gamma = GammaMemory(3, 5, order=4, resolution=1.0, layer_norm=True, batch_first=True, dtype=F64)
    gamma.load_state_dict(line.state_dict(), strict=False)
    x = inputs(2, 9, 3)
    assert_close(gamma(x)[0], line(x)[0])


@pytest.mark.parametrize("resolution", [0.25, 0.7, 1.0])
def test_taps_answer_an_impulse_as_theory_says(resolution: float) -> None:
    layer = GammaMemory(1, 1, order=4, resolution=resolution, dtype=F64)
    impulse = torch.zeros(1, 12, 1, dtype=F64)
    impulse[0, 0] = 1
    taps, _ = layer.remember(impulse, None, None)
    assert_close(taps[0, :, :, 0].T, impulse_responses(4, resolution, 12))


def test_impulse_responses_are_distributions_with_the_stated_depth() -> None:
    response = impulse_responses(5, 0.4, 400)
    assert_close(response.sum(dim=1), torch.ones(6, dtype=F64))
    mean = response @ torch.arange(400, dtype=F64)
    assert_close(mean, torch.tensor([0.0] + [depth(k, 0.4) for k in range(1, 6)], dtype=F64))


def test_resolution_is_learned() -> None:
    teacher = GammaMemory(2, 8, order=3, resolution=0.3, batch_first=True, dtype=F64)
    student = GammaMemory(2, 8, order=3, resolution=0.9, batch_first=True, dtype=F64)
    with torch.no_grad():
        student.weight_ih.copy_(teacher.weight_ih)
    x = inputs(16, 20, 2)
    target = teacher(x)[0].detach()
    optimizer = torch.optim.Adam([student.resolution_logit], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (student(x)[0] - target).square().mean().backward()
        optimizer.step()
    assert student.resolution.item() == pytest.approx(0.3, abs=1e-3)
    student.reset_parameters()
    assert student.resolution.item() == pytest.approx(0.9)


@pytest.mark.parametrize("name", ["tapped_delay", "gamma_memory"])
def test_sequences_may_be_cut_and_packed(name: str) -> None:
    layer = cells.load(name)(3, 4, order=5, layer_norm=True, batch_first=True, dtype=F64)  # type: ignore[call-arg]
    x = inputs(3, 11, 3)
    whole, final = layer(x)
    for cut in (1, 3, 8):
        first, state = layer(x[:, :cut])
        second, end = layer(x[:, cut:], state)
        assert_close(torch.cat([first, second], dim=1), whole)
        assert_close(end.taps, final.taps)
    lengths = (4, 11, 1)
    _, ends = layer(pack_sequence([x[b, :n] for b, n in enumerate(lengths)], enforce_sorted=False))
    for b, n in enumerate(lengths):
        _, alone = layer(x[b, :n])
        assert_close(ends.h[b], alone.h)
        assert_close(ends.taps[b], alone.taps)


@pytest.mark.parametrize("name", ["tapped_delay", "gamma_memory"])
def test_gradients(name: str) -> None:
    layer = cells.load(name)(2, 3, order=2, layer_norm=True, batch_first=True, dtype=F64)  # type: ignore[call-arg]
    names, parameters = zip(*layer.named_parameters(), strict=True)
    x = inputs(2, 4, 2).requires_grad_()
    _, state = layer(inputs(2, 3, 2, seed=1))
    taps = state.taps.detach().requires_grad_()

    def run(x: Tensor, taps: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        carried = type(state)(state.h.detach(), taps)
        out, end = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x, carried))
        return out, end.taps

    assert torch.autograd.gradcheck(run, (x, taps, *parameters))


def test_bad_settings() -> None:
    with pytest.raises(UsageError, match="order must be at least 1, got 0"):
        TappedDelayLine(2, 3, order=0)
    for resolution in (0.0, 2.0, float("nan")):
        with pytest.raises(UsageError, match=r"resolution must be in \(0, 2\)"):
            GammaMemory(2, 3, resolution=resolution)
