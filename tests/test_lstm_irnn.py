"""The two baselines against PyTorch's own layers, and their layer norm against the published equations."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastweights import IRNN, LSTM
from fastweights.types import LSTMState, RNNState

pytestmark = pytest.mark.usefixtures("float64")

INPUT, HIDDEN, BATCH, STEPS = 4, 5, 3, 6


def test_the_irnn_starts_from_half_the_identity() -> None:
    torch.testing.assert_close(IRNN(INPUT, HIDDEN).weight_hh.detach(), 0.5 * torch.eye(HIDDEN))


def assert_same_as_torch(ours: nn.Module, theirs: nn.Module, state: tuple[Tensor, ...]) -> None:
    """Outputs, final state and every gradient, with PyTorch's second bias at zero."""
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.weight_ih)
        theirs.weight_hh_l0.copy_(ours.weight_hh)
        theirs.bias_ih_l0.copy_(ours.bias)
        theirs.bias_hh_l0.zero_()
    x = torch.randn(STEPS, BATCH, INPUT, requires_grad=True)
    leading = tuple(part.unsqueeze(0) for part in state)
    out, final = ours(x, state)
    expected, expected_final = theirs(x, leading if len(leading) > 1 else leading[0])
    expected_final = expected_final if isinstance(expected_final, tuple) else (expected_final,)
    torch.testing.assert_close(out, expected)
    for part, expected_part in zip(final, expected_final, strict=True):
        torch.testing.assert_close(part, expected_part.squeeze(0))
    upstream = torch.randn_like(out)
    gradients = torch.autograd.grad(out, [x, *state, ours.weight_ih, ours.weight_hh, ours.bias], upstream)
    expected_gradients = torch.autograd.grad(
        expected, [x, *state, theirs.weight_ih_l0, theirs.weight_hh_l0, theirs.bias_ih_l0], upstream
    )
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient)


def test_lstm_is_torchs():
    state = LSTMState(torch.randn(BATCH, HIDDEN, requires_grad=True), torch.randn(BATCH, HIDDEN, requires_grad=True))
    assert_same_as_torch(LSTM(INPUT, HIDDEN), nn.LSTM(INPUT, HIDDEN), state)


def test_irnn_is_torchs_relu_rnn():
    state = RNNState(torch.randn(BATCH, HIDDEN, requires_grad=True))
    assert_same_as_torch(IRNN(INPUT, HIDDEN), nn.RNN(INPUT, HIDDEN, nonlinearity="relu"), state)


def normalised(a: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    """Eqs. 1-3 and 15 of Ba, Kiros & Hinton (2016), one vector at a time."""
    gain, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    rows = [gain * (row - row.mean()) / np.sqrt(row.var() + norm.eps) + bias for row in a]
    return np.stack(rows)


def randomised(layer: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return layer


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def test_layer_norm_lstm_is_the_published_one():
    layer = randomised(LSTM(INPUT, HIDDEN, layer_norm=True))
    x = torch.randn(STEPS, BATCH, INPUT)
    W_h, W_x, b = (value.detach().numpy() for value in (layer.weight_hh, layer.weight_ih, layer.bias))
    h = c = np.zeros((BATCH, HIDDEN))
    expected = []
    for x_t in x.numpy():
        gates = normalised(h @ W_h.T, layer.norm_hh) + normalised(x_t @ W_x.T, layer.norm_ih) + b  # eq. 20
        i, f, g, o = (gates[:, k * HIDDEN : (k + 1) * HIDDEN] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)  # eq. 21
        h = sigmoid(o) * np.tanh(normalised(c, layer.norm_cell))  # eq. 22
        expected.append(h)
    out, state = layer(x)
    np.testing.assert_allclose(out.detach(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.c.detach(), c, rtol=0, atol=1e-12)


def test_layer_norm_irnn_normalises_the_sum_inside_the_relu():
    layer = randomised(IRNN(INPUT, HIDDEN, layer_norm=True))
    x = torch.randn(STEPS, BATCH, INPUT)
    W, C, b = (value.detach().numpy() for value in (layer.weight_hh, layer.weight_ih, layer.bias))
    h = np.zeros((BATCH, HIDDEN))
    expected = []
    for x_t in x.numpy():
        h = np.maximum(normalised(h @ W.T + x_t @ C.T + b, layer.norm), 0)
        expected.append(h)
    np.testing.assert_allclose(layer(x)[0].detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_irnn_starts_at_a_scaled_identity(scale):
    layer = IRNN(INPUT, HIDDEN, identity_scale=scale)
    assert torch.equal(layer.weight_hh, scale * torch.eye(HIDDEN))
    # So with no input the positive part of h shrinks by that factor a step and the negative part is gone.
    h = torch.randn(BATCH, HIDDEN)
    out, _ = layer(torch.zeros(STEPS, BATCH, INPUT), RNNState(h))
    torch.testing.assert_close(out[-1], scale**STEPS * h.clamp(min=0))


def test_lstm_forget_bias_sets_the_first_forgetting():
    """With all else at zero a step keeps σ(forget_bias) of the cell."""
    layer = LSTM(INPUT, HIDDEN, forget_bias=2.0)
    with torch.no_grad():
        layer.weight_ih.zero_()
        layer.weight_hh.zero_()
    c = torch.randn(BATCH, HIDDEN)
    _, state = layer(torch.randn(STEPS, BATCH, INPUT), LSTMState(torch.zeros(BATCH, HIDDEN), c))
    torch.testing.assert_close(state.c, torch.sigmoid(torch.tensor(2.0)) ** STEPS * c)
