"""The fast-weight layer: its start, its attention (eq. 4), its wiring to the kernel."""

import math

import pytest
import torch
from torch.nn.functional import layer_norm as normalise

from fastweights import FastWeightRNN, FastWeightState, kernels

pytestmark = pytest.mark.usefixtures("float64")


def test_starts_as_the_paper_says():
    layer = FastWeightRNN(20, 100)
    assert torch.equal(layer.weight_hh, 0.05 * torch.eye(100))
    assert not layer.bias.any()
    assert torch.equal(layer.norm.weight, torch.ones(100))
    assert not layer.norm.bias.any()
    # U(±1/√R) with R = 100: 2,000 draws come within 1 % of both ends, and their variance is 1/(3R).
    C = layer.weight_ih
    assert 0.099 < C.max() <= 0.1
    assert -0.1 <= C.min() < -0.099
    # The variance of a uniform variable's square is 4/45 of its range's half to the fourth: five standard errors.
    assert abs(C.square().mean() - 1 / 300) < 5 * 0.01 * math.sqrt(4 / 45 / C.numel())


@pytest.mark.parametrize("backend", ["reference", "attention"])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_hands_its_settings_to_the_kernel(backend, layer_norm):
    layer = FastWeightRNN(
        3,
        5,
        inner_steps=2,
        decay=0.8,
        fast_learning_rate=0.3,
        layer_norm=layer_norm,
        activation="tanh",
        batch_first=True,
        backend=backend,
    )
    x, state = torch.randn(2, 4, 3), FastWeightState(torch.randn(2, 5), torch.randn(2, 5, 5))
    norm = (layer.norm.weight, layer.norm.bias) if layer_norm else (None, None)
    expected = kernels.fast_weights(
        x @ layer.weight_ih.T + layer.bias,
        layer.weight_hh,
        *norm,
        decay=0.8,
        fast_learning_rate=0.3,
        inner_steps=2,
        activation="tanh",
        state=state,
        backend="reference",
    )
    torch.testing.assert_close(layer(x, state), expected)


@pytest.mark.parametrize("inner_steps", [1, 2, 3])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("reading", [{}, {"lagged": True}, {"boundary_norm": True}])
def test_attention_rebuilds_the_output(inner_steps, layer_norm, batch_first, reading):
    """h(t) = f(LN[W h(t−1) + C x(t) + b + Σ_τ a(t, τ) h(τ)]) with the weights a of eq. 4."""
    layer = FastWeightRNN(
        3,
        6,
        inner_steps=inner_steps,
        layer_norm=layer_norm,
        fast_learning_rate=0.1,
        batch_first=batch_first,
        **reading,
    )
    x = torch.randn(2, 7, 3)
    given = x if batch_first else x.transpose(0, 1)
    out = layer(given)[0] if batch_first else layer(given)[0].transpose(0, 1)
    a = layer.attention(given)
    assert a.shape == (2, 7, 7)
    assert not a.triu().any(), "a step attends to itself or to the future"
    previous = torch.cat([torch.zeros(2, 1, 6), out[:, :-1]], dim=1)
    total = layer.project(x) + previous @ layer.weight_hh.T + a @ out
    if layer_norm:
        total = normalise(total, (6,), layer.norm.weight, layer.norm.bias, layer.norm.eps)
    torch.testing.assert_close(torch.relu(total), out, rtol=0, atol=1e-12)


def test_attention_of_one_inner_step_is_the_decayed_inner_product():
    """a(t, τ) = η λ^{t−1−τ} h(τ)ᵀ h_0(t), written out for every pair."""
    layer = FastWeightRNN(3, 6, decay=0.8, fast_learning_rate=0.3, batch_first=True)
    x = torch.randn(1, 5, 3)
    out, a = layer(x)[0][0], layer.attention(x)[0]
    for t in range(1, 5):
        h_0 = torch.relu(layer.project(x)[0, t] + layer.weight_hh @ out[t - 1])
        for τ in range(t):
            torch.testing.assert_close(a[t, τ], 0.3 * 0.8 ** (t - 1 - τ) * out[τ] @ h_0)


def test_without_fast_learning_the_layer_forgets_like_an_rnn():
    """η = 0 leaves h(t+1) = ReLU(LN[W h(t) + C x(t+1) + b]), the layer-normalised plain network, and A = 0."""
    layer = FastWeightRNN(3, 6, fast_learning_rate=0.0)
    x = torch.randn(5, 2, 3)
    expected, _ = kernels.irnn(layer.project(x).transpose(0, 1), layer.weight_hh, layer.norm.weight, layer.norm.bias)
    out, state = layer(x)
    torch.testing.assert_close(out, expected.transpose(0, 1))
    assert not state.fast_weights.any()
