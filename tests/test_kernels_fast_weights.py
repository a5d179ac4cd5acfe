"""The fast-weight recurrence: the oracle against paper arithmetic, every backend against the oracle."""

import itertools
from functools import partial
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastweights import UsageError
from fastweights.kernels import Backend, dispatch, fast_weights, missing_backends
from fastweights.types import FastWeightState

pytestmark = pytest.mark.usefixtures("float64")

# Triton has tests of its own: interpreted, it would take hours for these.
BACKENDS = [name for name in get_args(Backend) if name not in ("auto", "reference", "triton", *missing_backends())]
SETTINGS = {"decay": 0.9, "fast_learning_rate": 0.5}


def assert_close(actual: Tensor, expected: Tensor, what: str) -> None:
    """Equal to 1e-12 of the largest entry."""
    error = (actual - expected).abs().max() / expected.abs().max().clamp(min=1)
    assert error < 1e-12, f"{what}: off by {error:.1e}"


def random_arguments(
    batch: int, steps: int, hidden: int, *, layer_norm: bool, initial: bool
) -> dict[str, Tensor | None]:
    """z, W, gain, bias, h(0), A(0); None for what is switched off."""

    # Bounded draws: from a normal's tail the loop without layer norm would blow up.
    def uniform(bound: float, *shape: int) -> Tensor:
        return bound * (2 * torch.rand(shape) - 1)

    scale = hidden**-0.5
    return {
        "z": uniform(2 if layer_norm else scale, batch, steps, hidden),
        "weight_hh": uniform(0.8 * scale, hidden, hidden),
        "norm_weight": 0.5 + uniform(0.3, hidden) if layer_norm else None,
        "norm_bias": uniform(0.5, hidden) if layer_norm else None,
        "h": uniform(scale, batch, hidden) if initial else None,
        "fast_weights": uniform(0.5 * scale, batch, hidden, hidden) if initial else None,
    }


def run(arguments: dict[str, Tensor | None], **options: object) -> tuple[Tensor, Tensor, Tensor]:
    """out, h(T), A(T)."""
    arguments = dict(arguments)
    h, A = arguments.pop("h"), arguments.pop("fast_weights")
    state = None if h is None else FastWeightState(h, A)
    out, final = fast_weights(**arguments, state=state, **{**SETTINGS, **options})
    return out, *final


# Worked on paper: λ = 1/2, W = [[1, 1], [0, 2]], f = ReLU, no layer norm, zero initial state.
#
# S = 1, η = 2
#   t=1  z = (1, 1)      boundary (1, 1)   h_0 = (1, 1)   A h_0 = 0          h(1) = (1, 1)
#        A(1) = 2 [[1, 1], [1, 1]]
#   t=2  z = (0, −3)     W h(1) = (2, 2)   boundary (2, −1)   h_0 = (2, 0)
#        A h_0 = (4, 4)                    h(2) = (6, 3)
#        A(2) = [[1, 1], [1, 1]] + 2 [[36, 18], [18, 9]] = [[73, 37], [37, 19]]
#   t=3  z = (−8, −7)    W h(2) = (9, 6)   boundary (1, −1)   h_0 = (1, 0)
#        A h_0 = (73, 37)                  h(3) = (74, 36)
#        A(3) = [[36.5, 18.5], [18.5, 9.5]] + 2 [[5476, 2664], [2664, 1296]]
# S = 2, η = 1
#   t=1  z = (1, 1)      as above          h(1) = (1, 1)      A(1) = [[1, 1], [1, 1]]
#   t=2  z = (0, −3)     boundary (2, −1)  h_0 = (2, 0)       h_1 = (4, 1)    A h_1 = (5, 5)    h(2) = (7, 4)
#        A(2) = [[.5, .5], [.5, .5]] + [[49, 28], [28, 16]] = [[49.5, 28.5], [28.5, 16.5]]
#   t=3  z = (−10, −9)   W h(2) = (11, 8)  boundary (1, −1)   h_0 = (1, 0)    h_1 = (50.5, 27.5)
#        A h_1 = (2499.75 + 783.75, 1439.25 + 453.75) = (3283.5, 1893)        h(3) = (3284.5, 1892)
#        A(3) = [[24.75, 14.25], [14.25, 8.25]] + h(3) h(3)ᵀ,  h(3) h(3)ᵀ = [[10787940.25, 6214274], [6214274, 3579664]]
ON_PAPER = {
    "one inner step": (1, 2.0, (-8, -7), [(1, 1), (6, 3), (74, 36)], [[10988.5, 5346.5], [5346.5, 2601.5]]),
    "two inner steps": (
        2,
        1.0,
        (-10, -9),
        [(1, 1), (7, 4), (3284.5, 1892)],
        [[10787965.0, 6214288.25], [6214288.25, 3579672.25]],
    ),
}


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize(("inner_steps", "eta", "last_z", "h", "A"), ON_PAPER.values(), ids=ON_PAPER)
def test_three_steps_worked_on_paper(backend, inner_steps, eta, last_z, h, A):
    z = torch.tensor([[(1, 1), (0, -3), last_z]], dtype=torch.float64)
    W = torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    out, state = fast_weights(
        z, W, None, None, decay=0.5, fast_learning_rate=eta, inner_steps=inner_steps, backend=backend
    )
    # Every number above is a dyadic rational that float64 holds exactly.
    assert torch.equal(out, torch.tensor([h], dtype=torch.float64))
    assert torch.equal(state.h, out[:, -1])
    assert torch.equal(state.fast_weights, torch.tensor([A]))


CASES = list(
    itertools.product((1, 2, 3), (False, True), ("relu", "tanh"), (False, True), (False, True), (1, 7, 33), (1, 11))
)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("inner_steps", "layer_norm", "activation", "initial", "ragged", "hidden", "steps"), CASES)
def test_equals_the_reference(backend, inner_steps, layer_norm, activation, initial, ragged, hidden, steps):
    arguments = random_arguments(3, steps, hidden, layer_norm=layer_norm, initial=initial)
    lengths = torch.tensor([max(1, steps // 2), steps, 1]) if ragged else None
    # Without layer norm a ReLU loop blows up at the paper's η, and two blow-ups cannot be compared.
    rate = 0.5 if layer_norm else 0.05
    options = {"inner_steps": inner_steps, "activation": activation, "fast_learning_rate": rate, "lengths": lengths}
    assert_same_with_gradients(arguments, backend, **options)


@given(
    batch=st.integers(1, 4),
    steps=st.integers(1, 8),
    hidden=st.integers(1, 9),
    inner_steps=st.integers(1, 4),
    decay=st.floats(0, 1.2),
    rate=st.floats(-0.5, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=20, derandomize=True)
@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_the_reference_at_any_shape(backend, batch, steps, hidden, inner_steps, decay, rate, seed):
    generator = torch.manual_seed(seed)
    arguments = random_arguments(batch, steps, hidden, layer_norm=True, initial=True)
    lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
    assert_same_with_gradients(
        arguments, backend, inner_steps=inner_steps, decay=decay, fast_learning_rate=rate, lengths=lengths
    )


def assert_same_with_gradients(arguments: dict[str, Tensor | None], backend: str, **options: object) -> None:
    given = {name: value.requires_grad_() for name, value in arguments.items() if value is not None}
    expected = run(arguments, backend="reference", **options)
    actual = run(arguments, backend=backend, **options)
    for name, a, e in zip(("out", "state.h", "state.fast_weights"), actual, expected, strict=True):
        assert_close(a, e, name)
    upstream = [torch.randn_like(part) for part in expected]
    expected_gradients = torch.autograd.grad(expected, list(given.values()), upstream)
    actual_gradients = torch.autograd.grad(actual, list(given.values()), upstream)
    for name, a, e in zip(given, actual_gradients, expected_gradients, strict=True):
        assert_close(a, e, f"gradient of {name}")


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("order", ["first", "second"])
def test_derivatives_are_those_of_the_function(backend, layer_norm, order):
    arguments = random_arguments(2, 3, 3, layer_norm=layer_norm, initial=True)
    names = [name for name, value in arguments.items() if value is not None]
    lengths = torch.tensor([3, 2])

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        given = {**arguments, **dict(zip(names, values, strict=True))}
        return run(given, inner_steps=2, activation="tanh", lengths=lengths, backend=backend)

    check = torch.autograd.gradcheck if order == "first" else torch.autograd.gradgradcheck
    values = [arguments[name].requires_grad_() for name in names]
    if backend == "cpu" and order == "second":
        with pytest.raises(UsageError, match='no second derivatives; use backend="reference"'):
            check(function, values)
    else:
        assert check(function, values)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_one_step_by_the_definition_of_layer_norm(backend):
    arguments = random_arguments(4, 1, 6, layer_norm=True, initial=True)
    z, W, gain, bias, h, A = (value.numpy() for value in arguments.values())
    boundary = z[:, 0] + h @ W.T
    h_0 = np.maximum(boundary, 0)
    expected = []
    for b in range(4):  # one sequence at a time, so that nothing is shared across the batch
        a = boundary[b] + A[b] @ h_0[b]
        mean = a.sum() / 6
        deviation = np.sqrt(((a - mean) ** 2).sum() / 6 + 1e-5)
        expected.append(np.maximum(gain * (a - mean) / deviation + bias, 0))
    out, _, _ = run(arguments, backend=backend)
    np.testing.assert_allclose(out[:, 0], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("initial", [False, True])
def test_the_memory_is_the_decayed_sum_of_outer_products(backend, initial):
    arguments = random_arguments(2, 6, 5, layer_norm=True, initial=initial)
    out, _, _ = run(arguments, backend=backend)
    for t in range(1, 7):
        _, _, A = run({**arguments, "z": arguments["z"][:, :t]}, backend=backend)
        expected = sum(
            0.5 * 0.9 ** (t - τ) * torch.einsum("bi,bj->bij", out[:, τ - 1], out[:, τ - 1]) for τ in range(1, t + 1)
        )
        if initial:
            expected = expected + 0.9**t * arguments["fast_weights"]
        assert_close(A, expected, f"A({t})")


def lagged(z: Tensor, W: Tensor, λ: float, η: float) -> Tensor:
    """The common misreading: h(t+1) reads A(t−1), which h(t) has not entered yet (S = 1, ReLU, no layer norm)."""
    h = torch.zeros(z.shape[0], z.shape[2])
    A = previous_A = torch.zeros(z.shape[0], z.shape[2], z.shape[2])
    outputs = []
    for z_t in z.unbind(1):
        boundary = z_t + h @ W.T
        h = torch.relu(boundary + torch.einsum("bij,bj->bi", previous_A, torch.relu(boundary)))
        previous_A, A = A, λ * A + η * torch.einsum("bi,bj->bij", h, h)
        outputs.append(h)
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_the_newest_hidden_vector_is_already_in_the_memory(backend):
    z = torch.rand(4, 5, 6)  # positive, so that every unit is on and h(1)ᵀ h_0(2) > 0
    W = 0.1 * torch.eye(6)
    without_memory, _ = fast_weights(z, W, None, None, decay=0.9, fast_learning_rate=0.0, backend=backend)
    assert_close(lagged(z, W, 0.9, 0.0), without_memory, "the two without fast weights")
    out, _ = fast_weights(z, W, None, None, decay=0.9, fast_learning_rate=0.5, backend=backend)
    late = lagged(z, W, 0.9, 0.5)
    assert torch.equal(late[:, 0], out[:, 0])
    # The second step differs by exactly the term that the lag leaves out: η h(1) [h(1)ᵀ h_0(2)].
    h_1, h_0 = out[:, 0], z[:, 1] + 0.1 * out[:, 0]
    missing = 0.5 * h_1 * (h_1 * h_0).sum(-1, keepdim=True)
    assert missing.min() > 0
    assert_close(out[:, 1] - late[:, 1], missing, "the newest term")


def test_without_the_core_auto_forms_the_memory_only_for_long_sequences(monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("the other backend ran")

    monkeypatch.setattr(dispatch, "_CORE_MISSING", "not built")
    arguments = random_arguments(1, 7, 3, layer_norm=False, initial=False)
    with monkeypatch.context() as patch:
        patch.setattr(dispatch.attention, "fast_weights", fail)
        run(arguments)
    monkeypatch.setattr(dispatch.reference, "fast_weights", fail)
    run({**arguments, "z": arguments["z"][:, :6]})


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_the_final_memory_is_left_out_on_request(backend):
    arguments = random_arguments(2, 5, 4, layer_norm=True, initial=True)
    out, h, _ = run(arguments, backend=backend)
    same_out, same_h, A = run(arguments, backend=backend, final_fast_weights=False)
    assert torch.equal(same_out, out)
    assert torch.equal(same_h, h)
    assert A.shape == (2, 0, 0)


def test_outputs_past_the_end_are_zero_and_gradients_do_not_leak():
    arguments = random_arguments(2, 5, 4, layer_norm=True, initial=False)
    z = arguments["z"].requires_grad_()
    for backend in ("reference", *BACKENDS):
        out, h, A = run(arguments, lengths=torch.tensor([5, 2]), backend=backend)
        assert not out[1, 2:].any()
        (gradient,) = torch.autograd.grad(out.sum() + h.sum() + A.sum(), z)
        assert not gradient[1, 2:].any()
        assert gradient[0].any(-1).all()


class TestOtherReadings:
    """A(t−1) in place of A(t), and layer norm on h_0: what the paper's text leaves to be read."""

    @pytest.mark.parametrize("lagged", [False, True])
    @pytest.mark.parametrize("boundary_norm", [False, True])
    @pytest.mark.parametrize("inner_steps", [1, 3])
    def test_the_sum_of_eq_4_ends_one_step_earlier_and_h_0_is_normalised(self, lagged, boundary_norm, inner_steps):
        arguments = random_arguments(1, 7, 5, layer_norm=True, initial=False)
        given = [value[0].numpy() if name == "z" else value.numpy() for name, value in list(arguments.items())[:4]]
        z, W, gain, bias = given

        def normed(total):
            return gain * (total - total.mean()) / np.sqrt(total.var() + 1e-5) + bias

        past = [np.zeros(5)]
        for z_t in z:
            boundary = z_t + W @ past[-1]
            read = past[:-1] if lagged else past
            h = np.maximum(normed(boundary) if boundary_norm else boundary, 0)
            for _ in range(inner_steps):
                recalled = sum(0.5 * 0.9**age * h_past * (h_past @ h) for age, h_past in enumerate(reversed(read)))
                h = np.maximum(normed(boundary + recalled), 0)
            past.append(h)
        out, _, A = run(arguments, lagged=lagged, boundary_norm=boundary_norm, inner_steps=inner_steps)
        np.testing.assert_allclose(out[0], past[1:], rtol=0, atol=1e-12)
        stored = past[:-1] if lagged else past
        expected = sum(0.5 * 0.9**age * np.outer(h, h) for age, h in enumerate(reversed(stored)))
        np.testing.assert_allclose(A[0], expected, rtol=0, atol=1e-12)

    def test_continuing_equals_one_pass(self):
        arguments = random_arguments(2, 9, 4, layer_norm=True, initial=True)
        reading = {"lagged": True, "boundary_norm": True}
        whole = run(arguments, **reading)
        first = run({**arguments, "z": arguments["z"][:, :4]}, **reading)
        rest = run({**arguments, "z": arguments["z"][:, 4:], "h": first[1], "fast_weights": first[2]}, **reading)
        assert_close(torch.cat([first[0], rest[0]], dim=1), whole[0], "out")
        assert_close(rest[2], whole[2], "A")

    def test_gradients(self):
        arguments = random_arguments(2, 4, 3, layer_norm=True, initial=True)
        leaves = [value.requires_grad_() for value in arguments.values()]

        def call(*values):
            return run(dict(zip(arguments, values, strict=True)), lagged=True, boundary_norm=True, activation="tanh")

        assert torch.autograd.gradcheck(call, leaves)

    def test_without_layer_norm_h_0_has_none_either(self):
        arguments = random_arguments(2, 5, 3, layer_norm=False, initial=False)
        assert torch.equal(
            run(arguments, boundary_norm=True, fast_learning_rate=0.05)[0],
            run(arguments, backend="reference", fast_learning_rate=0.05)[0],
        )

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("reading", ["lagged", "boundary_norm"])
    def test_other_backends_refuse(self, backend, reading):
        arguments = random_arguments(1, 2, 3, layer_norm=True, initial=False)
        with pytest.raises(UsageError, match=f"backend '{backend}' has no lagged and no boundary_norm"):
            run(arguments, backend=backend, **{reading: True})


@pytest.mark.parametrize("backend", ["reference", "attention", "cpu"])
@pytest.mark.parametrize("steps", [7, 90])  # at 90 steps the core works in chunks over an explicit A
def test_members_of_a_population_have_settings_of_their_own(backend, steps):
    """vmap over W, gain, bias, λ and η is each member alone; one of them stores nothing."""
    torch.manual_seed(5)
    batch, hidden = 3, 4
    z, W = torch.randn(4, batch, steps, hidden).double(), torch.randn(4, hidden, hidden).double() / 2
    gain, bias = torch.rand(4, hidden).double() + 0.5, torch.randn(4, hidden).double()
    decays, rates = torch.tensor([0.5, 0.9, 1.0, 0.95]), torch.tensor([0.5, 0.0, 1.2, 0.25])

    def call(z, W, gain, bias, decay, rate, backend):
        out, state = fast_weights(z, W, gain, bias, decay=decay, fast_learning_rate=rate, backend=backend)
        return out.square().sum() + state.fast_weights.sin().sum()

    members = [value.requires_grad_() for value in (z, W, gain, bias)]
    together = torch.func.vmap(partial(call, backend=backend))(*members, decays, rates)
    gradients = torch.autograd.grad(together.sum(), members)
    for member in range(4):
        own = [value.detach()[member].requires_grad_() for value in members]
        alone = call(*own, decays[member].item(), rates[member].item(), "reference")
        torch.testing.assert_close(together[member], alone, rtol=1e-9, atol=1e-9)
        for mine, expected in zip(gradients, torch.autograd.grad(alone, own), strict=True):
            torch.testing.assert_close(mine[member], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize("decay", [torch.tensor([0.9]), torch.tensor(0.9, requires_grad=True), "0.9"])
def test_a_decay_that_is_no_plain_number_is_refused(decay):
    with pytest.raises(UsageError, match="decay must be a number"):
        fast_weights(torch.zeros(1, 1, 2), torch.eye(2), None, None, decay=decay, fast_learning_rate=0.5)
