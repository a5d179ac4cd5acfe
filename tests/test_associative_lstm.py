"""The associative LSTM against complex arithmetic, and its memory against the theory of holographic storage."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fastweights import AssociativeLSTM, AssociativeLSTMState
from fastweights.kernels import associative_lstm
from fastweights.kernels.associative_lstm.reference import bound, sum_of_products

pytestmark = pytest.mark.usefixtures("float64")


def as_complex(a: Tensor) -> np.ndarray:
    real, imaginary = a.detach().chunk(2, dim=-1)
    return torch.complex(real, imaginary).numpy()


def as_halves(a: Tensor) -> Tensor:
    return torch.cat([a.real, a.imag], dim=-1)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def normalised(a: np.ndarray, norm: torch.nn.LayerNorm | None) -> np.ndarray:
    if norm is None:
        return a
    mean, variance = a.mean(-1, keepdims=True), a.var(-1, keepdims=True)
    return norm.weight.detach().numpy() * (a - mean) / np.sqrt(variance + norm.eps) + norm.bias.detach().numpy()


def test_bound_keeps_the_phase_and_limits_the_modulus():
    halves = 2 * torch.randn(50, 12)
    a, bounded = as_complex(halves), as_complex(bound(halves))
    np.testing.assert_allclose(np.abs(bounded), np.minimum(np.abs(a), 1), rtol=1e-14)
    np.testing.assert_allclose(np.angle(bounded), np.angle(a), rtol=0, atol=1e-14)
    assert (np.abs(a) < 1).any()
    assert (np.abs(a) > 1).any()


def test_bound_has_a_derivative_at_zero():
    assert torch.equal(torch.func.jacrev(bound)(torch.zeros(4)), torch.eye(4))


def test_bound_ignores_the_modulus_of_large_numbers():
    a = as_halves(3 + torch.randn(10, 4, dtype=torch.complex128))
    torch.testing.assert_close(bound(1e6 * a), bound(10 * a))


def test_products_are_complex():
    a, b = torch.randn(2, 3, 5, dtype=torch.complex128), torch.randn(3, 5, dtype=torch.complex128)
    torch.testing.assert_close(sum_of_products(as_halves(a), as_halves(b), dim=1), as_halves((a * b).sum(1)))


def limited(a: np.ndarray) -> np.ndarray:
    return a / np.maximum(1, np.abs(a))


def by_complex_arithmetic(
    layer: AssociativeLSTM, x: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The equations of the layer's docstring for one sequence: loops over heads and copies, complex dtype, numpy."""
    W, C, b = (value.detach().numpy() for value in (layer.weight_hh, layer.weight_ih, layer.bias))
    P = layer.permutations.numpy()
    N = layer.hidden_size // 2
    outputs = []
    for x_t in x:
        total = normalised(W @ h, layer.norm_hh) + normalised(C @ x_t, layer.norm_ih) + b
        f, rest = sigmoid(total[:N]), total[N:]
        heads = rest.reshape(layer.heads, 8, N)
        c = f * c
        for i, _, r_re, r_im, _, _, u_re, u_im in heads:
            for s in range(layer.copies):
                c[s] += limited(r_re + 1j * r_im)[P[s]] * sigmoid(i) * limited(u_re + 1j * u_im)
        read = np.zeros(N, dtype=complex)
        for _, o, _, _, r_re, r_im, _, _ in heads:
            noisy = [limited(r_re + 1j * r_im)[P[s]] * c[s] for s in range(layer.copies)]
            read += sigmoid(o) * limited(sum(noisy) / layer.copies)
        h = np.concatenate([read.real, read.imag])
        outputs.append(h)
    return np.stack(outputs), h, c


@pytest.mark.parametrize(("copies", "heads"), [(1, 1), (4, 1), (1, 3), (4, 3)])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_is_the_published_recurrence(copies, heads, layer_norm):
    layer = AssociativeLSTM(3, 10, copies=copies, heads=heads, layer_norm=layer_norm, batch_first=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
    x = 2 * torch.randn(2, 6, 3)
    state = AssociativeLSTMState(torch.randn(2, 10), torch.randn(2, copies, 10))
    out, final = layer(x, state)
    for b in range(2):
        expected, h, c = by_complex_arithmetic(layer, x[b].numpy(), state.h[b].numpy(), as_complex(state.c[b]))
        np.testing.assert_allclose(out[b].detach(), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(final.h[b].detach(), h, rtol=0, atol=1e-12)
        np.testing.assert_allclose(as_complex(final.c[b]), c, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_derivatives_are_those_of_the_function(layer_norm):
    permutations = torch.tensor([[0, 1], [1, 0]])
    norm = (1 + 0.1 * torch.randn(18), 0.1 * torch.randn(18)) if layer_norm else ()
    inputs = [torch.randn(1, 2, 18), torch.randn(18, 4), torch.randn(1, 4), torch.randn(1, 2, 4), *norm]

    def function(z: Tensor, W: Tensor, h: Tensor, c: Tensor, *norm: Tensor) -> tuple[Tensor, ...]:
        out, final = associative_lstm(
            z, W, permutations, *norm, heads=1, state=AssociativeLSTMState(h, c), backend="reference"
        )
        return out, *final

    inputs = [value.requires_grad_() for value in inputs]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


OPEN, CLOSED = 60.0, -60.0  # before the sigmoid: 1 to the last bit, and nothing


def write_then_read(keys: Tensor, values: Tensor, query: Tensor, copies: int) -> tuple[Tensor, Tensor]:
    """Store items with one head, a step each, then read once; all complex: keys, values (B, M, N), query (B, N).

    Returns what was read, (B, N), and the permutations.
    """
    batch, items, N = keys.shape
    permutations = torch.stack([torch.arange(N), *(torch.randperm(N) for _ in range(copies - 1))])

    def steps(count: int, i: float, o: float, r_i: Tensor, r_o: Tensor, u: Tensor) -> Tensor:
        gates = torch.tensor([OPEN, i, o]).repeat_interleave(N).expand(batch, count, 3 * N)
        return torch.cat([gates, as_halves(r_i), as_halves(r_o), as_halves(u)], dim=-1)

    nothing = torch.zeros_like(query).unsqueeze(1)
    z = torch.cat(
        [
            steps(items, OPEN, CLOSED, keys, torch.zeros_like(keys), values),
            steps(1, CLOSED, OPEN, nothing, query.unsqueeze(1), nothing),
        ],
        dim=1,
    )
    out, _ = associative_lstm(z, torch.zeros(9 * N, 2 * N), permutations, heads=1)
    return torch.from_numpy(as_complex(out[:, -1])), permutations


def unit_phases(*shape: int) -> Tensor:
    return torch.polar(torch.ones(shape), 2 * math.pi * torch.rand(shape))


@pytest.mark.parametrize("copies", [1, 4])
def test_the_conjugate_key_retrieves_what_was_written(copies):
    keys, values = unit_phases(3, 1, 8), 0.9 * torch.rand(3, 1, 8) * unit_phases(3, 1, 8)
    read, _ = write_then_read(keys, values, keys[:, 0].conj(), copies)
    torch.testing.assert_close(read, values[:, 0])


@pytest.mark.parametrize("copies", [1, 2, 4, 16])
def test_copies_divide_the_retrieval_noise(copies):
    """Section 3 of Danihelka et al. (2016): M items with values of modulus v leave noise of variance (M−1) v² / copies.

    Two copies whose permutations agree at an entry have the same noise there, so the exact factor is the mean over
    entries of Σ_{s,s'} [P_s(n) = P_s'(n)] / copies², which tends to 1/copies for large N.
    """
    batch, items, N, v = 200, 9, 128, 0.03
    keys, values = unit_phases(batch, items, N), v * unit_phases(batch, items, N)
    read, P = write_then_read(keys, values, keys[:, 0].conj(), copies)
    assert read.abs().max() < 1, "bound would have cut the noise"
    noise = (read - values[:, 0]).abs().square().mean(-1)
    agreement = (P.unsqueeze(0) == P.unsqueeze(1)).double().mean()
    expected = (items - 1) * v**2 * agreement
    standard_error = noise.std() / math.sqrt(batch)
    assert abs(noise.mean() - expected) < 4 * standard_error
    # Tight enough to tell 1/copies from anything near it.
    assert standard_error < 0.02 * expected
    assert agreement < 1.2 / copies


def test_memory_grows_without_parameters():
    """Copies add state, not weights; Table 1's A-LSTM (R = 50, 4 copies, 3 heads) on 100 inputs."""
    layers = {copies: AssociativeLSTM(100, 50, copies=copies, heads=3) for copies in (1, 4, 16)}
    for copies, layer in layers.items():
        assert sum(parameter.numel() for parameter in layer.parameters()) == 94_375
        assert sum(math.prod(size) for size in layer.state_sizes) == 50 + 50 * copies


def test_permutations_are_permutations_and_the_first_is_the_identity():
    P = AssociativeLSTM(3, 40, copies=5).permutations
    assert torch.equal(P[0], torch.arange(20))
    assert torch.equal(P.sort(dim=-1).values, torch.arange(20).expand(5, 20))
    assert len({tuple(row) for row in P.tolist()}) == 5


def test_the_forget_bias_sets_the_first_forgetting():
    """With every weight at zero nothing is written, and a step keeps σ(forget_bias) of every copy."""
    layer = AssociativeLSTM(3, 8, forget_bias=2.0)
    with torch.no_grad():
        layer.weight_ih.zero_()
        layer.weight_hh.zero_()
    c = torch.randn(2, 4, 8)
    _, state = layer(torch.randn(5, 2, 3), AssociativeLSTMState(torch.zeros(2, 8), c))
    torch.testing.assert_close(state.c, torch.sigmoid(torch.tensor(2.0)) ** 5 * c)
