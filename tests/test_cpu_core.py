"""The compiled core against the float64 reference: every recurrence, forward and backward."""

import ctypes
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from fastweights import IRNN, LSTM, UsageError
from fastweights.kernels import associative_lstm, fast_weights, missing_backends
from fastweights.kernels.associative_lstm import cpu as associative_lstm_cpu
from fastweights.kernels.fast_weights import cpu as fast_weights_cpu
from fastweights.kernels.lstm import cpu as lstm_cpu
from fastweights.kernels.native import library
from fastweights.training import environment
from fastweights.types import AssociativeLSTMState
from recurrences import (
    COPIES,
    FAST_WEIGHTS,
    HEADS,
    RECURRENCES,
    Arguments,
    Recurrence,
    Results,
    assert_same,
    call_fast_weights,
    differentiate,
    draw_associative_lstm,
    draw_fast_weights,
    normal,
    random_upstream,
    to,
)

pytestmark = pytest.mark.skipif("cpu" in missing_backends(), reason=missing_backends().get("cpu", ""))

# Largest difference from the float64 reference, relative to the largest entry: what a thousand steps round.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 3e-5}

every_recurrence = pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
every_norm = pytest.mark.parametrize("norm", [False, True], ids=["plain", "layer_norm"])


def assert_equals_the_reference(
    recurrence: Recurrence, arguments: Arguments, dtype: torch.dtype = torch.float64, **options: Any
) -> None:
    """Results and every gradient, for random upstream gradients on the outputs and the final state."""
    upstream = random_upstream(recurrence, arguments, **options)
    expected = differentiate(recurrence.call, arguments, upstream, backend="reference", **options)
    actual = differentiate(recurrence.call, to(arguments, dtype), upstream, backend="cpu", **options)
    assert_same(actual, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@every_norm
@every_recurrence
@pytest.mark.parametrize(
    ("batch", "steps", "hidden"), [(2, 97, 1), (3, 977, 7), (1, 131, 33), (9, 1, 257), (2, 5, 257), (17, 1, 1)]
)
def test_equals_the_reference_at_odd_sizes(recurrence, norm, dtype, batch, steps, hidden, as_installed):
    assert_equals_the_reference(recurrence, recurrence.draw(batch, steps, hidden, norm=norm, initial=True), dtype)


@given(
    batch=st.integers(1, 20),
    steps=st.integers(1, 9),
    hidden=st.integers(1, 20),
    initial=st.booleans(),
    ragged=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=15, derandomize=True)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@every_norm
@every_recurrence
def test_equals_the_reference_at_any_size(recurrence, norm, dtype, batch, steps, hidden, initial, ragged, seed):
    generator = torch.manual_seed(seed)
    arguments = recurrence.draw(batch, steps, hidden, norm=norm, initial=initial)
    lengths = torch.randint(1, steps + 1, (batch,), generator=generator) if ragged else None
    assert_equals_the_reference(recurrence, arguments, dtype, lengths=lengths)


SETTINGS = list(itertools.product((1, 2, 3), ("relu", "tanh"), (False, True), (False, True)))


@pytest.mark.parametrize("steps", [13, 400], ids=["attention", "chunks"])
@pytest.mark.parametrize(("inner_steps", "activation", "norm", "initial"), SETTINGS)
def test_fast_weights_equal_the_reference_with_every_setting(inner_steps, activation, norm, initial, steps):
    arguments = draw_fast_weights(3, steps, 6, norm=norm, initial=initial)
    lengths = torch.tensor([steps, 1, steps // 2])
    # Strong fast weights make long sequences chaotic, and two roundings of chaos cannot be compared.
    rate = 0.5 if norm and steps < 100 else 0.02
    assert_equals_the_reference(
        FAST_WEIGHTS,
        arguments,
        inner_steps=inner_steps,
        activation=activation,
        fast_learning_rate=rate,
        lengths=lengths,
    )


@pytest.mark.parametrize("steps", [11, 400], ids=["attention", "chunks"])
@pytest.mark.parametrize(("decay", "rate"), [(0.0, 0.3), (0.9, 0.0), (1.0, -0.05)])
def test_fast_weights_equal_the_reference_at_extreme_rates(steps, decay, rate):
    for initial in (False, True):
        arguments = draw_fast_weights(3, steps, 5, norm=True, initial=initial)
        assert_equals_the_reference(FAST_WEIGHTS, arguments, decay=decay, fast_learning_rate=rate)


@every_recurrence
def test_the_norms_epsilon_is_the_one_given(recurrence):
    arguments = recurrence.draw(3, 4, 5, norm=True, initial=True)
    assert_equals_the_reference(recurrence, arguments, norm_epsilon=0.3)


def test_a_decay_that_underflows_divides_nothing():
    """λ^T is zero in float32 long before T = 400; the oldest steps are forgotten, not divided by it."""
    arguments = draw_fast_weights(2, 400, 5, norm=True, initial=True)
    assert_equals_the_reference(FAST_WEIGHTS, arguments, torch.float32, decay=0.5)


@every_norm
@every_recurrence
@pytest.mark.parametrize(("batch", "steps"), [(3, 7), (5, 400)])
def test_uninitialised_memory_is_never_read(recurrence, norm, batch, steps, poisoned):
    for initial in (False, True):
        arguments = recurrence.draw(batch, steps, 5, norm=norm, initial=initial)
        assert_equals_the_reference(recurrence, arguments, lengths=torch.randint(1, steps + 1, (batch,)))


@every_norm
@every_recurrence
def test_gradients_are_those_of_the_function(recurrence, norm):
    arguments = recurrence.draw(2, 3, 3, norm=norm, initial=True)
    values = [value.requires_grad_() for value in arguments.values()]

    def function(*values: Tensor) -> Results:
        return recurrence.call(dict(zip(arguments, values, strict=True)), backend="cpu", lengths=torch.tensor([3, 2]))

    assert torch.autograd.gradcheck(function, values)


@every_recurrence
def test_one_gradient_alone_is_the_same(recurrence):
    """Upstream gradients that are absent, of the outputs or of a part of the state, count as zero."""
    arguments = {
        name: value.requires_grad_() for name, value in recurrence.draw(3, 4, 5, norm=True, initial=True).items()
    }
    leaves = list(arguments.values())
    for index in range(len(recurrence.call(arguments, backend="reference"))):
        gradients = [
            torch.autograd.grad(recurrence.call(arguments, backend=backend)[index].square().sum(), leaves)
            for backend in ("cpu", "reference")
        ]
        torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@every_recurrence
def test_without_gradients_the_results_are_the_same(recurrence):
    arguments = recurrence.draw(3, 400, 5, norm=True, initial=True)
    with torch.no_grad():
        results = recurrence.call(arguments, backend="cpu")
    leaves = {name: value.clone().requires_grad_() for name, value in arguments.items()}
    for result, recorded in zip(results, recurrence.call(leaves, backend="cpu"), strict=True):
        assert torch.equal(result, recorded)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@every_recurrence
def test_results_do_not_depend_on_the_number_of_threads(recurrence, dtype):
    arguments = to(recurrence.draw(70, 40, 9, norm=True, initial=True), dtype)
    upstream = random_upstream(recurrence, arguments)
    before = torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(differentiate(recurrence.call, arguments, upstream, backend="cpu"))
    finally:
        torch.set_num_threads(before)
    for name, value in runs[0].items():
        assert all(torch.equal(run[name], value) for run in runs), name


@every_recurrence
def test_the_core_is_given_as_many_threads_as_torch_has(recurrence, monkeypatch):
    asked: list[int] = []
    function = library.function

    def recorded(name: str, dtype: torch.dtype) -> Any:
        def run(call: Any, *rest: Any) -> Any:
            asked.append(call._obj.threads)
            return function(name, dtype)(call, *rest)

        return run

    monkeypatch.setattr(library, "function", recorded)
    arguments = recurrence.draw(2, 3, 4, norm=True, initial=False)
    with environment.threads(3):
        differentiate(recurrence.call, arguments, random_upstream(recurrence, arguments), backend="cpu")
    assert set(asked) == {3}


@pytest.mark.parametrize("variant", ["baseline", "avx2", "avx512"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@every_norm
@every_recurrence
def test_every_simd_width_equals_the_reference(recurrence, norm, dtype, variant):
    if variant not in library.variants():
        pytest.skip(f"this processor has no {variant}")
    with library.forced(variant):
        assert library.variant() == variant
        for batch, steps, hidden in ((1, 3, 1), (19, 5, 7), (16, 60, 11)):
            arguments = recurrence.draw(batch, steps, hidden, norm=norm, initial=True)
            lengths = torch.randint(1, steps + 1, (batch,))
            assert_equals_the_reference(recurrence, arguments, dtype, lengths=lengths)


@every_norm
@every_recurrence
def test_vmap_over_stacked_parameters_is_each_alone(recurrence, norm, as_installed):
    """One input for all members; the gradient of it is the sum over them."""
    members = [recurrence.draw(5, 4, 6, norm=norm, initial=True) for _ in range(3)]
    z = members[0]["z"].requires_grad_()
    leaves = [{k: v.detach().requires_grad_() for k, v in member.items() if k != "z"} for member in members]
    stacked = {name: torch.stack([leaf[name] for leaf in leaves]) for name in leaves[0]}

    def call(parameters: Arguments, z: Tensor) -> Results:
        return recurrence.call({**parameters, "z": z}, backend="cpu")

    wanted = [z, *(value for leaf in leaves for value in leaf.values())]
    together = torch.func.vmap(call, in_dims=(0, None))(stacked, z)
    alone = tuple(torch.stack(parts) for parts in zip(*(call(leaf, z) for leaf in leaves), strict=True))
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    upstream = [torch.randn_like(result) for result in alone]
    gradients = [torch.autograd.grad(results, wanted, upstream) for results in (together, alone)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


@every_recurrence
def test_many_upstream_gradients_at_once(recurrence, as_installed):
    """vmap over the backward pass alone."""
    arguments = recurrence.draw(3, 4, 5, norm=True, initial=True)
    leaves = [value.requires_grad_() for value in arguments.values()]
    out = recurrence.call(arguments, backend="cpu")[0]
    upstream = torch.randn(3, *out.shape, dtype=out.dtype)
    together = torch.autograd.grad(out, leaves, upstream, is_grads_batched=True, retain_graph=True)
    alone = [torch.autograd.grad(out, leaves, weight, retain_graph=True) for weight in upstream]
    for values, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(values, torch.stack(parts), rtol=1e-12, atol=1e-12)


@every_recurrence
def test_torch_func_derivatives_take_another_backend(recurrence, as_installed):
    arguments = recurrence.draw(2, 3, 4, norm=True, initial=True)

    def loss(z: Tensor, backend: str) -> Tensor:
        return recurrence.call({**arguments, "z": z}, backend=backend)[0].square().sum()

    z = arguments["z"].clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(z, "cpu"), z)
    torch.testing.assert_close(torch.func.grad(loss)(arguments["z"], "auto"), expected, rtol=1e-11, atol=1e-11)
    with pytest.raises(UsageError, match="cannot differentiate it"):
        torch.func.grad(loss)(arguments["z"], "cpu")
    direction = torch.randn_like(arguments["z"])
    _, slope = torch.func.jvp(lambda z: loss(z, "auto"), (arguments["z"],), (direction,))
    torch.testing.assert_close(slope, (expected * direction).sum(), rtol=1e-11, atol=1e-11)


@every_norm
@every_recurrence
def test_compiles_without_a_graph_break(recurrence, norm, as_installed):
    torch.compiler.reset()
    arguments = recurrence.draw(3, 4, 5, norm=norm, initial=True)
    compiled = torch.compile(recurrence.call, fullgraph=True, backend="aot_eager")
    upstream = random_upstream(recurrence, arguments)
    expected = differentiate(recurrence.call, arguments, upstream, backend="cpu")
    actual = differentiate(compiled, arguments, upstream, backend="cpu")
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


@every_recurrence
def test_a_trace_records_the_core_and_not_its_results(recurrence, as_installed):
    arguments, others = (recurrence.draw(3, 4, 5, norm=True, initial=True) for _ in range(2))

    def call(arguments: Arguments) -> Results:
        return recurrence.call(arguments, backend="cpu")

    for mode in ("real", "fake"):
        traced = make_fx(call, tracing_mode=mode)(arguments)
        for actual, expected in zip(traced(others), call(others), strict=True):
            assert torch.equal(actual, expected)


def test_the_operators_keep_to_torchs_contract(as_installed):
    """On whole blocks of lanes, so that no padding is left uninitialised and every output can be compared."""
    batch, settings = library.lanes(torch.float64), torch.tensor([0.9, 0.5, 1e-5], dtype=torch.float64)
    for recurrence, operator, options in (
        (
            FAST_WEIGHTS,
            torch.ops.fastweights.fast_weights_forward.default,
            (None, settings, [], [2, 0, 1, 1, 1], "cpu"),
        ),
        (RECURRENCES[2], torch.ops.fastweights.lstm_forward.default, (None, 1e-5, True)),
        (RECURRENCES[3], torch.ops.fastweights.associative_lstm_forward.default, (None, HEADS, 1e-5, True)),
    ):
        arguments = recurrence.draw(batch, 3, 4, norm=True, initial=True)
        tensors = [value.requires_grad_() for value in arguments.values()]
        if recurrence.name == "associative_lstm":
            tensors.insert(2, torch.randperm(4).expand(COPIES, 4))
        torch.library.opcheck(operator, (*tensors, *options))


@every_recurrence
def test_layout_in_memory_does_not_matter(recurrence):
    arguments = recurrence.draw(5, 6, 7, norm=True, initial=True)
    upstream = random_upstream(recurrence, arguments)
    expected = differentiate(recurrence.call, arguments, upstream, backend="cpu")

    def transposed(value: Tensor) -> Tensor:
        return value.mT.contiguous().mT if value.dim() > 1 else value.repeat_interleave(2)[::2]

    def misaligned(value: Tensor) -> Tensor:
        return torch.cat([value.new_zeros(1), value.flatten()])[1:].view(value.shape)

    def negated(value: Tensor) -> Tensor:
        return torch.complex(value, -value).conj().imag  # a view whose memory holds the opposite sign

    for layout in (transposed, misaligned, negated):
        moved = {name: layout(value).requires_grad_() for name, value in arguments.items()}
        results = recurrence.call(moved, backend="cpu")
        gradients = torch.autograd.grad(results, list(moved.values()), [layout(weight) for weight in upstream])
        for actual, value in zip((*results, *gradients), expected.values(), strict=True):
            assert torch.equal(actual, value)


@every_recurrence
def test_a_second_derivative_is_refused(recurrence):
    arguments = {
        name: value.requires_grad_() for name, value in recurrence.draw(2, 3, 4, norm=True, initial=False).items()
    }
    out = recurrence.call(arguments, backend="cpu")[0]
    (gradient,) = torch.autograd.grad(out.square().sum(), arguments["z"], create_graph=True)
    with pytest.raises(UsageError, match='no second derivatives; use backend="reference"'):
        gradient.square().sum().backward()


@every_norm
@every_recurrence
def test_nan_spreads_as_in_the_reference(recurrence, norm):
    arguments = recurrence.draw(5, 4, 6, norm=norm, initial=True)
    arguments["z"][1, 2, 3] = torch.nan
    actual, expected = (recurrence.call(arguments, backend=backend) for backend in ("cpu", "reference"))
    assert not expected[0][1, :2].isnan().any()
    assert expected[0][1, 2].isnan().any()
    torch.testing.assert_close(actual, expected, equal_nan=True, rtol=1e-11, atol=1e-11)


def with_changes(**changes: Callable[[Tensor], Tensor]) -> Callable[[Arguments], Arguments]:
    return lambda arguments: {name: changes.get(name, lambda value: value)(value) for name, value in arguments.items()}


@every_recurrence
@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (with_changes(z=lambda z: z[0]), {}, "z must have three dimensions"),
        (with_changes(z=lambda z: z[:, :0]), {}, "none empty"),
        (with_changes(weight_hh=lambda W: W[:, :-1]), {}, r"weight_hh must have shape \(\d+, [48]\), got"),
        (with_changes(h=lambda h: h[:1]), {}, r"state\.h must have shape \(2, ([48])\), got \(1, \1\)"),
        (with_changes(), {"lengths": torch.ones(3, dtype=torch.long)}, r"lengths must have shape \(2,\), got \(3,\)"),
        (with_changes(), {"lengths": torch.ones(2, dtype=torch.long, device="meta")}, "lengths is on meta but z is on"),
        (with_changes(), {"lengths": torch.ones(2)}, "lengths must be integers, got torch.float32"),
        (with_changes(), {"lengths": torch.tensor([0, 3])}, r"lengths must be within 1 … 3, got 0 … 3"),
        (with_changes(), {"lengths": torch.tensor([2, 4])}, r"lengths must be within 1 … 3, got 2 … 4"),
        (with_changes(), {"norm_epsilon": 0.0}, "norm_epsilon must be finite and above 0, got 0.0"),
        (with_changes(), {"norm_epsilon": float("nan")}, "norm_epsilon must be finite and above 0, got nan"),
        (with_changes(z=Tensor.float), {}, "all float32 or all float64, got torch.float32, torch.float64"),
        (lambda arguments: to(arguments, torch.bfloat16), {}, "all float32 or all float64, got torch.bfloat16"),
        (lambda arguments: {k: v.to("meta") for k, v in arguments.items()}, {}, "a tensor is on meta; move it"),
    ],
)
def test_bad_input_is_refused_before_any_native_code(recurrence, change, options, message, monkeypatch, as_installed):
    def fail(*_: object) -> None:
        raise AssertionError("native code was reached")

    monkeypatch.setattr(library, "function", fail)
    with pytest.raises(UsageError, match=message):
        recurrence.call(change(recurrence.draw(2, 3, 4, norm=False, initial=True)), backend="cpu", **options)


@pytest.mark.parametrize("name", ["decay", "fast_learning_rate"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rates_that_are_not_finite_are_refused(name, value):
    with pytest.raises(UsageError, match=f"{name} must be finite"):
        call_fast_weights(draw_fast_weights(2, 3, 4, norm=False, initial=False), backend="cpu", **{name: value})


@every_recurrence
def test_autocast_is_refused_when_asked_for_and_avoided_otherwise(recurrence):
    arguments = to(recurrence.draw(2, 3, 4, norm=True, initial=False), torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(UsageError, match="does not run under autocast"):
            recurrence.call(arguments, backend="cpu")
        recurrence.call(arguments)


@every_recurrence
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_auto_is_the_core_where_it_can_run(recurrence, dtype):
    arguments = to(recurrence.draw(2, 3, 4, norm=True, initial=True), dtype)
    for automatic, chosen in zip(recurrence.call(arguments), recurrence.call(arguments, backend="cpu"), strict=True):
        assert torch.equal(automatic, chosen)


def test_the_core_counts_what_it_keeps_as_python_does():
    for steps, hidden, inner_steps, norm in itertools.product((1, 9), (1, 50), (1, 3), (False, True)):
        gain = ctypes.c_void_p(1 if norm else None)
        call = library.FastWeightsCall(steps=steps, hidden=hidden, inner_steps=inner_steps, norm_weight=gain)
        size = library.function("fw_fast_weights_saved", torch.float32)(ctypes.byref(call))
        assert size == fast_weights_cpu._saved_width(steps, hidden, inner_steps, norm)
        call = library.AssociativeLSTMCall(
            steps=steps, hidden=2 * hidden, heads=inner_steps, copies=4, norm_weight=gain
        )
        size = library.function("fw_associative_lstm_saved", torch.float32)(ctypes.byref(call))
        assert size == associative_lstm_cpu._saved_width(steps, 2 * hidden, inner_steps, 4, norm)
        call = library.LSTMCall(steps=steps, hidden=hidden, hh_weight=gain)
        size = library.function("fw_lstm_saved", torch.float32)(ctypes.byref(call))
        assert size == lstm_cpu._saved_width(steps, hidden, norm)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_the_layers_are_torchs(dtype):
    torch.manual_seed(0)
    x = torch.randn(7, 19, 5, dtype=dtype, requires_grad=True)
    pairs = [
        (LSTM(5, 13, backend="cpu"), nn.LSTM(5, 13)),
        (IRNN(5, 13, backend="cpu"), nn.RNN(5, 13, nonlinearity="relu")),
    ]
    for ours, theirs in pairs:
        ours.to(dtype), theirs.to(dtype)
        with torch.no_grad():
            nn.init.normal_(ours.weight_hh, std=0.2)
            theirs.weight_ih_l0.copy_(ours.weight_ih)
            theirs.weight_hh_l0.copy_(ours.weight_hh)
            theirs.bias_ih_l0.copy_(ours.bias)
            theirs.bias_hh_l0.zero_()
        out, expected = ours(x)[0], theirs(x)[0]
        upstream = torch.randn_like(out)
        gradients = torch.autograd.grad(out, [x, ours.weight_ih, ours.weight_hh, ours.bias], upstream)
        wanted = [x, theirs.weight_ih_l0, theirs.weight_hh_l0, theirs.bias_ih_l0]
        expected_gradients = torch.autograd.grad(expected, wanted, upstream)
        for actual, value in zip((out, *gradients), (expected, *expected_gradients), strict=True):
            assert_same({"": actual}, {"": value.double()}, TOLERANCE[dtype])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 2e-14)])
@pytest.mark.parametrize("width", library.variants() if library.missing() is None else ())
def test_tanh_keeps_its_relative_accuracy_near_zero(width, dtype, tolerance):
    """With W = 0, η = 0 and no layer norm, one step is f(z)."""
    z = torch.logspace(-12, 1.2, 400, dtype=torch.float64).to(dtype)
    z = torch.cat([z, -z])[:, None, None]
    with library.forced(width):
        out, _ = fast_weights(
            z, z.new_zeros(1, 1), None, None, decay=0.0, fast_learning_rate=0.0, activation="tanh", backend="cpu"
        )
    wanted = torch.tanh(z.double())
    assert float(((out.double() - wanted) / wanted).abs().max()) < tolerance


def test_a_core_of_another_version_is_not_used(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(library, "_INTERFACE", 0)
        assert "another version" in library.missing.__wrapped__()
    monkeypatch.setattr(library, "_PATH", Path(torch._C.__file__))  # some library that is not ours
    assert "another version" in library.missing.__wrapped__()


@every_recurrence
@pytest.mark.skipif(library.missing() is not None or len(library.variants()) < 2, reason="needs two SIMD widths")
def test_a_width_that_changes_before_the_backward_pass_is_noticed(recurrence):
    arguments = {
        name: value.requires_grad_() for name, value in recurrence.draw(3, 4, 5, norm=True, initial=True).items()
    }
    with library.forced(library.variants()[0]):
        results = recurrence.call(arguments, backend="cpu")
    with library.forced(library.variants()[1]), pytest.raises(UsageError, match="SIMD width was changed"):
        torch.autograd.grad(results[0].sum(), list(arguments.values()), allow_unused=True)


@pytest.mark.parametrize(("heads", "copies"), [(1, 1), (4, 1), (1, 5), (3, 4)])
def test_the_associative_lstm_equals_the_reference_for_any_heads_and_copies(heads, copies):
    hidden = 14
    rows = (1 + 8 * heads) * hidden // 2
    permutations = torch.stack([torch.randperm(hidden // 2) for _ in range(copies)])
    arguments = {"z": normal(5, 9, rows), "weight_hh": normal(rows, hidden, scale=0.1)}
    arguments |= {"h": normal(5, hidden), "c": normal(5, copies, hidden)}

    def call(arguments: Arguments, **options: Any) -> Results:
        given = dict(arguments)
        state = AssociativeLSTMState(given.pop("h"), given.pop("c"))
        out, final = associative_lstm(**given, permutations=permutations, heads=heads, state=state, **options)
        return out, *final

    upstream = (normal(5, 9, hidden), normal(5, hidden), normal(5, copies, hidden))
    expected = differentiate(call, arguments, upstream, backend="reference")
    actual = differentiate(call, arguments, upstream, backend="cpu")
    assert_same(actual, expected, TOLERANCE[torch.float64])


def test_members_of_a_population_have_permutations_of_their_own(as_installed):
    arguments = draw_associative_lstm(5, 4, 6, norm=False, initial=False)
    leaf = arguments["z"].requires_grad_()
    permutations = torch.stack([torch.stack([torch.randperm(6) for _ in range(COPIES)]) for _ in range(3)])

    def call(permutations: Tensor) -> Tensor:
        return associative_lstm(**arguments, permutations=permutations, heads=HEADS, backend="cpu")[0]

    together, alone = torch.func.vmap(call)(permutations), torch.stack([call(each) for each in permutations])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(alone)
    gradients = [torch.autograd.grad(out, leaf, upstream) for out in (together, alone)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("entry", [-1, 3, 10**9])
def test_permutations_outside_the_memory_are_refused(entry):
    permutations = torch.tensor([[0, 1, entry]])
    with pytest.raises(UsageError, match=r"permutations must hold 0 … 2, got"):
        associative_lstm(torch.zeros(1, 1, 27), torch.zeros(27, 6), permutations, heads=1, backend="cpu")
