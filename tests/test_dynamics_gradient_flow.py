"""Gradients through time against closed forms, autograd and dense Jacobians."""

import math

import pytest
import torch

import fastweights as fw
from fastweights import FastWeightState, UsageError, kernels
from fastweights.dynamics import (
    contraction,
    decay_exponent,
    gradient_norms,
    immediate_jacobian,
    log_jacobian_product_norms,
    memory_paths,
    product_norm,
    pull_back,
    push_forward,
    spectral_radius,
    weight_jacobian,
)

pytestmark = pytest.mark.usefixtures("float64")


def network(size, radius):
    """A random W of given spectral radius, far from normal."""
    W = torch.randn(size, size)
    return W * radius / torch.linalg.eigvals(W).abs().max()


def lstm_step(W, forget_gate=True):
    def step(h, c, z):
        i, f, g, o = (W @ h + z).chunk(4)
        kept = torch.sigmoid(f) * c if forget_gate else c
        c = kept + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    return step


def fast_weight_step(size, *, decay=0.9, rate=0.5, inner_steps=2):
    W, gain, bias = 0.3 * torch.randn(size, size), torch.ones(size), 0.5 * torch.ones(size)

    def step(state, z):
        batched = FastWeightState(*(part.unsqueeze(0) for part in state))
        _, after = kernels.fast_weights(
            z[None, None],
            W,
            gain,
            bias,
            decay=decay,
            fast_learning_rate=rate,
            inner_steps=inner_steps,
            state=batched,
            backend="reference",
        )
        return tuple(part.squeeze(0) for part in after)

    return step


def test_gradients_of_a_quiet_network_fade_at_the_rate_of_its_spectral_radius():
    W = network(50, math.exp(-0.109))
    assert torch.linalg.matrix_norm(W, 2) > 1.5, "the norm alone would say that they explode"

    def step(h, x):
        return torch.tanh(W @ h + x)

    norms = gradient_norms(
        lambda state, x: (step(state[0], x),), (torch.zeros(3, 50),), torch.zeros(3, 600, 50), lambda s: s[0].sum()
    )[0]
    assert norms.shape == (601, 3)
    fit = decay_exponent(norms[:, 0].log(), first_lag=100)
    assert fit.slope == pytest.approx(-0.109, abs=5e-4)
    products = log_jacobian_product_norms(step, torch.zeros(1, 50), torch.zeros(1, 600, 50))[:, 0]
    assert decay_exponent(products, first_lag=100).slope == pytest.approx(math.log(spectral_radius(W)), abs=5e-4)
    torch.testing.assert_close(products[0].exp(), torch.linalg.matrix_norm(W, 2))


def test_an_orthogonal_network_keeps_every_gradient():
    W = torch.linalg.qr(torch.randn(10, 10)).Q
    x = torch.randn(2, 40, 10)
    products = log_jacobian_product_norms(lambda h, z: W @ h + z, torch.randn(2, 10), x)
    torch.testing.assert_close(products, torch.zeros(40, 2), atol=1e-12, rtol=0)
    norms = gradient_norms(lambda s, z: (W @ s[0] + z,), (torch.randn(2, 10),), x, lambda s: s[0][0])[0]
    torch.testing.assert_close(norms, torch.ones(41, 2))


def test_products_neither_overflow_nor_underflow():
    for factor in (1e-3, 1e3):
        products = log_jacobian_product_norms(
            lambda h, z, a=factor: a * h + z, torch.ones(1, 4), torch.zeros(1, 300, 4)
        )
        torch.testing.assert_close(products[:, 0], math.log(factor) * torch.arange(1.0, 301.0))
    dead = log_jacobian_product_norms(lambda h, z: torch.relu(h - 1), torch.zeros(1, 4), torch.zeros(1, 3, 4))
    assert dead.isneginf().all()


def test_sequences_of_a_batch_keep_their_gradients_apart():
    x = torch.randn(3, 5, 4)

    def step(s, z):
        return torch.tanh(s[0] + z), s[1] + s[0].sum()

    def loss(s):
        return s[0].sum() * s[1].sum()

    state = (torch.randn(3, 4), torch.randn(3, 2))
    together = gradient_norms(step, state, x, loss)
    for b in range(3):
        alone = gradient_norms(step, tuple(part[b : b + 1] for part in state), x[b : b + 1], loss)
        for part, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(part[:, b], expected[:, 0])


def test_the_decay_fit_is_a_least_squares_line():
    noise = 0.1 * torch.randn(200)
    fit = decay_exponent(2 - 0.3 * torch.arange(200.0) + noise)
    assert abs(fit.slope + 0.3) < 4 * fit.standard_error
    assert fit.standard_error == pytest.approx(0.1 / math.sqrt(200**3 / 12), rel=0.2)


def test_the_kronecker_form_is_what_autograd_computes():
    W, z, h0 = torch.randn(4, 4), torch.randn(6, 4), torch.randn(4)

    def last(W):
        h = h0
        for z_t in z:
            h = torch.tanh(W @ h + z_t)
        return h

    by_entry = torch.func.jacrev(last)(W)
    stacked_columns = by_entry.transpose(1, 2).reshape(4, 16)
    torch.testing.assert_close(weight_jacobian(W, z, h0, torch.tanh), stacked_columns)


def test_the_immediate_jacobian_is_one_step_of_it():
    W, h, slope = torch.randn(3, 3), torch.randn(3), torch.rand(3)
    direct = torch.func.jacrev(lambda M: slope * (M @ h))(W).transpose(1, 2).reshape(3, 9)
    torch.testing.assert_close(immediate_jacobian(h, slope), direct)
    assert not weight_jacobian(W, torch.randn(1, 3), torch.zeros(3), torch.tanh).any(), "t = 1 adds nothing if h_0 = 0"


def test_the_direct_path_of_an_lstm_is_the_product_of_its_forget_gates():
    H, T = 5, 7
    W, z = torch.randn(4 * H, H), torch.randn(T, 4 * H)
    h = c = torch.zeros(H)
    paths = memory_paths(lstm_step(W), h, c, z)
    gates, step = [], lstm_step(W)
    for z_t in z:
        gates.append(torch.sigmoid((W @ h + z_t)[H : 2 * H]))
        h, c = step(h, c, z_t)
    products = torch.stack(gates).flip(0).cumprod(0)
    torch.testing.assert_close(paths.direct, torch.diag_embed(products))
    torch.testing.assert_close(paths.total[0], paths.direct[0])
    assert (paths.total[1] - paths.direct[1]).norm() > 0.01


def test_the_1997_cell_has_a_constant_direct_path_and_a_total_one_that_is_not():
    W, z = torch.randn(20, 5), torch.randn(30, 20)
    paths = memory_paths(lstm_step(W, forget_gate=False), torch.zeros(5), torch.zeros(5), z)
    torch.testing.assert_close(paths.direct, torch.eye(5).expand(30, 5, 5))
    assert (torch.linalg.matrix_norm(paths.total - torch.eye(5))[5:] > 0.1).all()


def test_the_total_path_is_the_derivative_of_the_whole_run():
    W, z, h0, c0 = torch.randn(12, 3), torch.randn(6, 12), torch.randn(3), torch.randn(3)
    step = lstm_step(W)

    def run(c):
        h = h0
        for z_t in z:
            h, c = step(h, c, z_t)
        return c

    torch.testing.assert_close(memory_paths(step, h0, c0, z).total[-1], torch.func.jacrev(run)(c0))


def dense_jacobian(step, state, inputs):
    """∂(h, A)_T/∂(h, A)_0 entry by entry."""
    sizes = [part.numel() for part in state]

    def flat(v):
        parts = tuple(p.reshape(s.shape) for p, s in zip(v.split(sizes), state, strict=True))
        for x in inputs:
            parts = step(parts, x)
        return torch.cat([p.flatten() for p in parts])

    return torch.func.jacrev(flat)(torch.cat([p.flatten() for p in state]))


def test_products_through_fast_weights_are_those_of_the_dense_jacobian():
    step, z = fast_weight_step(4), torch.randn(5, 4)
    state = (torch.rand(4), 0.3 * torch.randn(4, 4))
    J = dense_jacobian(step, state, z)
    tangent = (torch.randn(4), torch.randn(4, 4))
    vector = torch.cat([part.flatten() for part in tangent])
    pushed, pulled = push_forward(step, state, z, tangent), pull_back(step, state, z, tangent)
    torch.testing.assert_close(torch.cat([p.flatten() for p in pushed]), J @ vector)
    torch.testing.assert_close(torch.cat([p.flatten() for p in pulled]), J.T @ vector)
    blocks = {None: slice(None), 0: slice(4), 1: slice(4, 20)}
    for source, columns in blocks.items():
        for target, rows in blocks.items():
            found = product_norm(step, state, z, source=source, target=target, iterations=500)
            expected = torch.linalg.matrix_norm(J[rows, columns], 2)
            assert found.norm == pytest.approx(float(expected), rel=1e-6)
            assert found.change < 1e-6


def test_fast_weights_that_store_nothing_fade_as_the_power_of_their_decay():
    step, state = fast_weight_step(6, decay=0.8, rate=0.0), (torch.rand(6), torch.randn(6, 6))
    assert product_norm(step, state, torch.randn(10, 6), source=1, target=1).norm == pytest.approx(0.8**10)
    assert product_norm(step, state, torch.randn(10, 6), source=0, target=1).norm == 0


def test_products_through_fast_weights_run_at_sizes_no_dense_jacobian_would():
    size = 100  # a dense Jacobian would hold 10 100² numbers, 816 MB
    step, z, state = fast_weight_step(size), torch.randn(10, size), (torch.zeros(size), torch.zeros(size, size))
    tangent, cotangent = (torch.randn(size), torch.randn(size, size)), (torch.randn(size), torch.randn(size, size))
    pushed, pulled = push_forward(step, state, z, tangent), pull_back(step, state, z, cotangent)

    def inner(a, b):
        return sum((x * y).sum() for x, y in zip(a, b, strict=True))

    torch.testing.assert_close(inner(cotangent, pushed), inner(pulled, tangent))
    assert 0 < product_norm(step, state, z, iterations=5).norm < math.inf


def test_gradient_norms_of_every_part_of_a_fast_weight_state():
    step, z = fast_weight_step(6), torch.randn(2, 8, 6)
    state = FastWeightState(torch.rand(2, 6), 0.1 * torch.randn(2, 6, 6))
    of_h, of_A = gradient_norms(step, state, z, lambda s: s[0][0])
    for b in range(2):
        e0 = torch.zeros(6)
        e0[0] = 1
        pulled = pull_back(step, tuple(part[b] for part in state), z[b], (e0, torch.zeros(6, 6)))
        torch.testing.assert_close(torch.stack((of_h[-1, b], of_A[-1, b])), torch.stack([p.norm() for p in pulled]))


def inner_loop_points(layer, z):
    """A(t) and the argument u of layer norm in the first inner step, along one sequence of input products."""
    state, fast_weights, sums = None, [], []
    for z_t in z:
        h, A = (z.new_zeros(len(z_t)), z.new_zeros(len(z_t), len(z_t))) if state is None else (p[0] for p in state)
        boundary = layer.weight_hh @ h + z_t
        fast_weights.append(A)
        sums.append(boundary + A @ torch.relu(boundary))
        _, state = layer.scan(z_t[None, None], state)
    return torch.stack(fast_weights), torch.stack(sums)


def test_the_contraction_bounds_are_ordered_along_a_trained_run():
    layer = fw.FastWeightRNN(3, 16, batch_first=True, inner_steps=1)
    optimiser = torch.optim.Adam(layer.parameters(), 1e-2)
    for _ in range(40):  # recall the first input after eight others
        x = torch.randn(32, 9, 3)
        optimiser.zero_grad()
        (layer(x)[0][:, -1, :3] - x[:, 0].abs()).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        A, u = inner_loop_points(layer, layer.project(torch.randn(12, 3)))
    gain, bias = layer.norm.weight.detach(), layer.norm.bias.detach()
    log = contraction(A, u, gain, bias, torch.relu)
    assert (log.exact <= log.here * (1 + 1e-12)).all()
    assert (log.here <= log.everywhere).all()
    assert log.everywhere[0] == log.exact[0] == 0, "A(0) = 0"
    assert log.everywhere[-1] > 1 > 0.5 * log.exact[-1], "only the local constant says anything about a trained network"
    sigma = ((u[5] - u[5].mean()).square().mean() + 1e-5).sqrt()
    torch.testing.assert_close(log.here[5], gain.abs().max() / sigma * torch.linalg.svdvals(A[5])[0])
    # The slope at the point is that of layer norm as torch computes it, row by row.
    row = torch.func.jacrev(lambda v: torch.relu(torch.nn.functional.layer_norm(v, (16,), gain, bias)))(u[5]) @ A[5]
    torch.testing.assert_close(log.exact[5], torch.linalg.matrix_norm(row, 2))


def test_an_inner_loop_below_one_settles_from_everywhere():
    A, boundary, gain, bias, epsilon = torch.randn(8, 8), torch.randn(8), torch.ones(8), torch.zeros(8), 0.1
    A *= 0.9 * epsilon**0.5 / torch.linalg.matrix_norm(A, 2)
    bound = contraction(A[None], boundary[None], gain, bias, torch.tanh, norm_epsilon=epsilon).everywhere
    assert float(bound) == pytest.approx(0.9)
    h = 100 * torch.randn(20, 8)
    previous = torch.cdist(h, h).max()
    for _ in range(60):
        h = torch.tanh(torch.nn.functional.layer_norm(boundary + h @ A.T, (8,), gain, bias, epsilon))
        spread = torch.cdist(h, h).max()
        assert spread <= 0.9 * previous + 1e-12
        previous = spread
    assert spread < 1e-3


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gradient_norms(None, (torch.zeros(2, 3),), torch.zeros(2, 0, 3), None), r"inputs must be \(B, T, I\)"),
        (
            lambda: gradient_norms(None, (torch.zeros(3, 3),), torch.zeros(2, 4, 3), None),
            "part 0 of the state must be floating point with a leading batch dimension 2",
        ),
        (lambda: decay_exponent(torch.zeros(5), first_lag=3), "log_norms must hold at least 3 entries.*got 2"),
        (lambda: decay_exponent(torch.full((5,), -math.inf)), r"log_norms must be finite, got -inf at \(0,\)"),
        (
            lambda: weight_jacobian(torch.ones(2, 3), torch.ones(1, 2), torch.ones(2), torch.tanh),
            "weight_hh must be a square matrix",
        ),
        (
            lambda: weight_jacobian(torch.eye(2), torch.ones(1, 3), torch.ones(2), torch.tanh),
            r"z must be \(T, 2\) with T ≥ 1, got shape \(1, 3\)",
        ),
        (lambda: memory_paths(None, torch.ones(2), torch.ones(2), torch.ones(0, 8)), r"inputs must be \(T, I\)"),
        (
            lambda: push_forward(None, (torch.ones(2),), torch.ones(1, 2), (torch.ones(3),)),
            r"tangent must have the state's shapes \[\(2,\)\], got \[\(3,\)\]",
        ),
        (
            lambda: product_norm(None, (torch.ones(2),), torch.ones(1, 2), source=1),
            r"source must be in 0\.\.0 or None, got 1",
        ),
        (
            lambda: contraction(torch.ones(2, 3, 3), torch.ones(2, 4), torch.ones(4), torch.ones(4), torch.relu),
            r"fast_weights must be \(T, H, H\) and sums \(T, H\)",
        ),
        (
            lambda: contraction(
                torch.ones(1, 2, 2), torch.ones(1, 2), torch.ones(2), torch.ones(2), torch.relu, norm_epsilon=0.0
            ),
            r"norm_epsilon must be positive, got 0\.0",
        ),
    ],
)
def test_impossible_arguments(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_the_standard_error_of_three_points_by_hand():
    # Slope ½, residuals (1, −2, 1)/6 and one degree of freedom: (1/6)/1/2 = 1/12.
    assert decay_exponent(torch.tensor([0.0, 0.0, 1.0])) == pytest.approx((0.5, math.sqrt(1 / 12)))


def test_products_are_taken_from_the_end_backwards():
    J = torch.randn(2, 5, 3, 3)
    norms = log_jacobian_product_norms(lambda h, z: z.view(3, 3) @ h, torch.randn(2, 3), J.flatten(2))
    for b in range(2):
        for lag in range(1, 6):
            product = torch.eye(3)
            for matrix in J[b, 5 - lag :]:
                product = matrix @ product
            torch.testing.assert_close(norms[lag - 1, b].exp(), torch.linalg.matrix_norm(product, 2))


def test_gains_of_either_sign_count():
    A, u, gain = torch.randn(6, 8, 8), torch.randn(6, 8), torch.randn(8) - 2
    log = contraction(A, u, gain, torch.zeros(8), torch.tanh)
    assert (log.exact <= log.here).all()
    torch.testing.assert_close(contraction(A, u, -gain, torch.zeros(8), torch.tanh).here, log.here)
