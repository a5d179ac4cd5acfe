"""The Triton kernels against the float64 reference: on a GPU if there is one, else interpreted on the CPU.

Interpreted kernels are slow, so sizes are small, and matrices are made to be streamed that would fit on the chip.
"""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from fastweights import FastWeightRNN, UsageError
from fastweights.kernels import dispatch, fast_weights, missing_backends
from fastweights.kernels.fast_weights import triton
from fastweights.model import SequenceClassifier
from fastweights.report import info
from fastweights.types import FastWeightState
from recurrences import (
    FAST_WEIGHTS,
    Arguments,
    Results,
    assert_same,
    call_fast_weights,
    differentiate,
    draw_fast_weights,
    random_upstream,
    to,
)
from test_kernels_fast_weights import ON_PAPER

needs_triton = pytest.mark.skipif("triton" in missing_backends(), reason=missing_backends().get("triton", ""))
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no GPU")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MOST_SHARED = 227 * 2**10  # bytes that a program may have on an H100
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.fixture(params=["on chip", "streamed"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where W and A are. Chunks of streamed ones are short, so that a few steps have several."""
    if request.param != "on chip":
        monkeypatch.setattr(triton, "_ON_CHIP_BYTES", 0)
        monkeypatch.setattr(triton, "_CHUNK_STREAMED", 32 if request.param == "long chunks" else 16)
    return request.param


def on_device(arguments: Arguments) -> Arguments:
    return {name: value.to(DEVICE) for name, value in arguments.items()}


def draw(batch: int, steps: int, hidden: int, *, norm: bool = True, initial: bool = False) -> Arguments:
    return on_device(draw_fast_weights(batch, steps, hidden, norm=norm, initial=initial))


def assert_equals_the_reference(arguments: Arguments, dtype: torch.dtype = torch.float64, **options: object) -> None:
    """Results and every gradient, for random upstream gradients on the outputs and the final state."""
    rounded = to(to(arguments, dtype), torch.float64)
    upstream = tuple(to(dict(enumerate(random_upstream(FAST_WEIGHTS, rounded, **options))), dtype).values())
    expected = differentiate(call_fast_weights, rounded, upstream, backend="reference", **options)
    actual = differentiate(call_fast_weights, to(arguments, dtype), upstream, backend="triton", **options)
    assert {value.dtype for value in actual.values()} == {dtype}
    assert_same(to(actual, torch.float64), expected, TOLERANCE[dtype])


@needs_triton
class TestAgainstTheReference:
    @pytest.mark.parametrize(("inner_steps", "eta", "last_z", "h", "A"), ON_PAPER.values(), ids=ON_PAPER)
    def test_three_steps_worked_on_paper(self, path, inner_steps, eta, last_z, h, A):
        z = torch.tensor([[(1, 1), (0, -3), last_z]], dtype=torch.float64, device=DEVICE)
        W = torch.tensor([[1.0, 1.0], [0.0, 2.0]], dtype=torch.float64, device=DEVICE)
        out, state = fast_weights(
            z, W, None, None, decay=0.5, fast_learning_rate=eta, inner_steps=inner_steps, backend="triton"
        )
        assert torch.equal(out.cpu(), torch.tensor([h], dtype=torch.float64))
        assert torch.equal(state.h, out[:, -1])
        assert torch.equal(state.fast_weights.cpu(), torch.tensor([A], dtype=torch.float64))

    @pytest.mark.parametrize("path", ["on chip", "streamed", "long chunks"], indirect=True)
    @pytest.mark.parametrize(
        ("steps", "initial", "inner_steps"), [(3, False, 2), (3, True, 1), (35, False, 1), (18, True, 2)]
    )
    def test_results_and_gradients(self, path, steps, initial, inner_steps):
        lengths = torch.tensor([steps, max(1, steps - 16)], device=DEVICE)
        assert_equals_the_reference(draw(2, steps, 5, initial=initial), inner_steps=inner_steps, lengths=lengths)

    @pytest.mark.parametrize("activation", ["relu", "tanh"])
    @pytest.mark.parametrize("norm", [False, True], ids=["plain", "layer_norm"])
    @pytest.mark.parametrize("rate", [0.02, 0.0], ids=["storing", "not storing"])
    def test_every_kind_of_step(self, path, activation, norm, rate):
        arguments = draw(2, 4, 5, norm=norm)
        assert_equals_the_reference(arguments, activation=activation, fast_learning_rate=rate, inner_steps=2)

    def test_many_steps_that_store_nothing(self, path, poisoned):
        """On the chip, their backward pass is another kernel than that of as many that store."""
        lengths = torch.tensor([18, 3], device=DEVICE)
        assert_equals_the_reference(draw(2, 18, 5), fast_learning_rate=0.0, inner_steps=2, lengths=lengths)

    @pytest.mark.parametrize("most", [triton._MOST_BYTES_OF_PAIRS, 0], ids=["one product", "row by row"])
    def test_many_inner_steps(self, path, most, monkeypatch, poisoned):
        monkeypatch.setattr(triton, "_MOST_BYTES_OF_PAIRS", most)
        assert_equals_the_reference(draw(1, 3, 4), inner_steps=5)

    def test_inner_steps_that_are_no_power_of_two(self, path, poisoned):
        assert_equals_the_reference(draw(1, 4, 3), inner_steps=3)

    @pytest.mark.parametrize(("hidden", "steps"), [(1, 3), (17, 18), (64, 2), (100, 2)])
    def test_sizes_that_are_no_powers_of_two_and_that_are(self, hidden, steps):
        assert_equals_the_reference(draw(1, steps, hidden))

    def test_float32_on_the_chip_up_to_128_units(self):
        assert triton._Plan.of(128, torch.float32).on_chip
        assert not triton._Plan.of(129, torch.float32).on_chip
        assert_equals_the_reference(draw(1, 18, 100), torch.float32)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
    def test_narrow_numbers(self, path, dtype):
        assert_equals_the_reference(draw(2, 5, 9, initial=True), dtype)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    def test_nothing_narrow_is_carried_from_step_to_step(self, path, dtype):
        """The results are float32's, rounded once."""
        arguments = to(draw(2, 12, 9, initial=True), dtype)
        exact = call_fast_weights(to(arguments, torch.float32), backend="triton")
        for result, wide in zip(call_fast_weights(arguments, backend="triton"), exact, strict=True):
            torch.testing.assert_close(result, wide.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-6)

    def test_nan_spreads_within_its_sequence(self, path):
        arguments = draw(2, 3, 5)
        arguments["z"][0, 1, 2] = torch.nan
        out = call_fast_weights(arguments, backend="triton")[0]
        assert out[0, 1:].isnan().all()
        assert not out[0, 0].isnan().any()
        assert not out[1].isnan().any()

    @pytest.mark.parametrize(("decay", "rate"), [(0.0, 0.3), (1e-30, 0.5), (1.0, -0.05), (1.1, 0.01)])
    def test_extreme_rates(self, path, decay, rate):
        """λ = 0 forgets at once and 1e-30 underflows after two steps of float32; neither is divided by."""
        dtype = torch.float32 if decay == 1e-30 else torch.float64
        assert_equals_the_reference(draw(1, 18, 4, initial=True), dtype, decay=decay, fast_learning_rate=rate)

    @pytest.mark.parametrize("decay", [0.0, 0.5, 0.95, 1.0, 1.1])
    def test_powers_of_the_decay(self, decay):
        from power_kernel import powers

        found = torch.empty(128, dtype=torch.float64, device=DEVICE)
        powers[(1,)](torch.tensor([decay], dtype=torch.float64, device=DEVICE), found, COUNT=128)
        expected = torch.tensor([decay**n for n in range(128)], dtype=torch.float64, device=DEVICE)
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)

    def test_the_norms_epsilon_is_the_one_given(self, path):
        assert_equals_the_reference(draw(2, 3, 5), norm_epsilon=0.3)

    def test_members_of_a_population_have_weights_and_settings_of_their_own(self, path, as_installed):
        members = [on_device(draw_fast_weights(2, 3, 4, norm=True, initial=True)) for _ in range(3)]
        stacked = {name: torch.stack([member[name] for member in members]) for name in members[0]}
        stacked["z"] = stacked["z"].movedim(0, 1)  # vmap may map any dimension
        decays, rates = torch.tensor([[0.5, 0.9, 1.0], [0.5, 0.0, 0.25]], dtype=torch.float64, device=DEVICE)

        def call(arguments, decay, rate):
            return call_fast_weights(arguments, decay=decay, fast_learning_rate=rate, backend="triton")

        def all_members(leaves):
            dimensions = {name: int(name == "z") for name in leaves}
            results = torch.func.vmap(call, in_dims=(dimensions, 0, 0), out_dims=1)(leaves, decays, rates)
            return tuple(result.movedim(1, 0) for result in results)

        upstream = tuple(
            torch.stack([torch.randn_like(r) for r in [result] * 3]) for result in call(members[0], 0.9, 0.5)
        )
        together = differentiate(all_members, stacked, upstream)
        together["gradient of z"] = together["gradient of z"].movedim(1, 0)
        for index, member in enumerate(members):
            expected = differentiate(
                call_fast_weights,
                member,
                tuple(each[index] for each in upstream),
                backend="reference",
                decay=decays[index].item(),
                fast_learning_rate=rates[index].item(),
            )
            assert_same({name: value[index] for name, value in together.items()}, expected, 1e-11)


@needs_triton
def test_many_members_have_few_warps_each_and_a_model_alone_many(monkeypatch):
    """A model that is trained alone is a population of one."""
    asked, launch = [], triton._launch
    monkeypatch.setattr(
        triton,
        "_launch",
        lambda kernel, programs, warps, *rest: (asked.append(warps), launch(kernel, programs, warps, *rest)),
    )
    for members, warps in ((0, [2, 2]), (1, [2, 2]), (2, [1, 1])):
        lead = (members,) if members else ()
        leaves = {name: torch.stack([value] * members) if members else value for name, value in draw(1, 2, 20).items()}
        leaves = {name: value.float().requires_grad_() for name, value in leaves.items()}

        def call(leaves):
            return call_fast_weights(leaves, backend="triton")[0]

        out = (torch.func.vmap(call) if lead else call)(leaves)
        out.sum().backward()
        assert asked == warps
        asked.clear()


@needs_triton
class TestMemory:
    @pytest.mark.parametrize("initial", [False, True], ids=["from zero", "from a state"])
    def test_uninitialised_memory_is_never_read(self, path, initial, poisoned):
        lengths = torch.tensor([18, 1], device=DEVICE)
        assert_equals_the_reference(draw(2, 18, 4, initial=initial), lengths=lengths)

    def test_a_length_out_of_range_reads_no_foreign_memory(self, path):
        arguments = draw(3, 4, 5, initial=True)
        lengths, clamped = (torch.tensor(each, device=DEVICE) for each in ([-7, 99, 2], [1, 4, 2]))
        upstream = random_upstream(FAST_WEIGHTS, arguments)
        expected = differentiate(call_fast_weights, arguments, upstream, backend="reference", lengths=clamped)
        assert_same(
            differentiate(call_fast_weights, arguments, upstream, backend="triton", lengths=lengths), expected, 1e-11
        )

    def test_one_gradient_alone_is_the_same(self, path):
        arguments = {name: value.requires_grad_() for name, value in draw(1, 4, 4, initial=True).items()}
        for index in range(3):
            gradients = [
                torch.autograd.grad(
                    call_fast_weights(arguments, backend=backend)[index].square().sum(), list(arguments.values())
                )
                for backend in ("triton", "reference")
            ]
            torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)

    def test_without_gradients_the_results_are_the_same_and_nothing_is_kept(self, path):
        arguments = draw(1, 18, 4, initial=True)
        leaves = {name: value.clone().requires_grad_() for name, value in arguments.items()}
        with torch.no_grad():
            results = call_fast_weights(arguments, backend="triton")
            from_zero = draw(1, 18, 4)
            for result, expected in zip(
                call_fast_weights(from_zero, backend="triton"),
                call_fast_weights(from_zero, backend="reference"),
                strict=True,
            ):
                torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
            out, h, A = call_fast_weights(arguments, backend="triton", final_fast_weights=False)
        for result, recorded in zip(results, call_fast_weights(leaves, backend="triton"), strict=True):
            assert torch.equal(result, recorded)
        assert torch.equal(out, results[0])
        assert torch.equal(h, results[1])
        assert A.shape == (1, 0, 0)
        assert [part.numel() for part in triton.empty_results(arguments["z"], None, None, [1, 0, 1, 1, 0])[3:]] == [
            0,
            0,
        ]

    def test_what_is_kept_grows_with_the_steps_and_not_with_an_A_for_each(self):
        """(1 + 2 S) R + S numbers a step, h(T), and one A in a chunk; none where A is zero."""
        for steps, chunks_before in ((11, 0), (16, 0), (17, 1), (1024, 63)):
            z = torch.empty(3, steps, 50, device="meta")
            _, _, _, saved, checkpoints = triton.empty_results(z, z[0, 0], None, [2, 0, 0, 1, 1])
            assert saved.shape == (3 * (steps * (5 * 50 + 2) + 50),)
            assert checkpoints.shape == (3 * chunks_before * 50 * 50,)

    def test_a_forgotten_past_that_overflows_leaves_short_sequences_alone(self):
        """λ^T is infinite, but the sequences ended long before."""
        arguments = draw(2, 140, 3, initial=True)
        arguments["z"].zero_()
        lengths = torch.tensor([1, 2], device=DEVICE)
        A = arguments["A"].requires_grad_()
        for backend in ("reference", "triton"):
            out, _, _ = call_fast_weights(arguments, decay=200.0, lengths=lengths, backend=backend)
            (gradient,) = torch.autograd.grad(out.sum(), A)
            assert gradient.isfinite().all()

    @pytest.mark.parametrize("steps", [4, 18])
    def test_layout_in_memory_does_not_matter(self, path, steps):
        arguments = draw(3, steps, 5, initial=True)
        upstream = tuple(
            each.movedim(0, -1).contiguous().movedim(-1, 0) for each in random_upstream(FAST_WEIGHTS, arguments)
        )
        expected = differentiate(call_fast_weights, arguments, upstream, backend="reference")

        def call(leaves: Arguments) -> Results:
            strided = {name: value.mT.contiguous().mT if value.dim() > 1 else value for name, value in leaves.items()}
            return call_fast_weights(strided, backend="triton")

        assert_same(differentiate(call, arguments, upstream), expected, 1e-11)

    def test_a_view_to_be_negated_is_read_as_its_values(self):
        arguments = draw(1, 2, 3)
        expected = call_fast_weights({**arguments, "z": -arguments["z"]}, backend="triton")
        negated = call_fast_weights({**arguments, "z": torch._neg_view(arguments["z"])}, backend="triton")
        assert torch.equal(negated[0], expected[0])


@needs_triton
class TestAsAnOperator:
    def test_keeps_to_torchs_contract(self, as_installed):
        settings = torch.tensor([0.9, 0.5, 1e-5], dtype=torch.float64, device=DEVICE)
        tensors = [value.requires_grad_() for value in draw(2, 3, 4, initial=True).values()]
        operator = torch.ops.fastweights.fast_weights_forward.default
        torch.library.opcheck(operator, (*tensors, None, settings, [], [2, 0, 1, 1, 1], "triton"))

    def test_compiles_without_a_graph_break(self, as_installed):
        torch.compiler.reset()
        arguments = draw(2, 3, 4, initial=True)
        compiled = torch.compile(partial(call_fast_weights, backend="triton"), fullgraph=True, backend="aot_eager")
        upstream = random_upstream(FAST_WEIGHTS, arguments)
        expected = differentiate(call_fast_weights, arguments, upstream, backend="triton")
        for name, value in differentiate(compiled, arguments, upstream).items():
            assert torch.equal(value, expected[name]), name

    def test_a_second_derivative_is_refused(self):
        z = draw(1, 2, 3)["z"].requires_grad_()
        out, _ = fast_weights(z, torch.eye(3).to(z), None, None, decay=0.9, fast_learning_rate=0.1, backend="triton")
        (gradient,) = torch.autograd.grad(out.square().sum(), z, create_graph=True)
        with pytest.raises(UsageError, match='no second derivatives; use backend="reference"'):
            gradient.sum().backward()

    def test_under_autocast_the_recurrence_is_in_float32(self):
        layer = FastWeightRNN(3, 5, batch_first=True, backend="triton", device=DEVICE)
        x = torch.randn(2, 4, 3, device=DEVICE)
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            assert layer.project(x).dtype is torch.bfloat16
            out, state = layer(x)
        assert {out.dtype, state.h.dtype, state.fast_weights.dtype} == {torch.float32}
        torch.testing.assert_close(out, layer(x)[0], rtol=0, atol=0.05)

    def test_seeded_training_is_that_of_the_compiled_core(self):
        """Losses of Adam's first updates, in float64, on the CPU's core where there is one."""
        losses = []
        for backend, device in (("triton", DEVICE), ("auto", "cpu")):
            torch.manual_seed(3)
            cell = FastWeightRNN(6, 5, backend=backend)
            model = SequenceClassifier(7, 4, cell, embedding_size=5, head_size=6).double().to(device)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
            found = []
            for _ in range(3):
                tokens, targets = torch.randint(7, (4, 4)), torch.randint(4, (4,))
                loss = torch.nn.functional.cross_entropy(model(tokens.to(device)), targets.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                found.append(loss.item())
            losses.append(found)
        assert losses[0] == pytest.approx(losses[1], rel=1e-10)
        assert losses[0][-1] != losses[0][0]


@needs_triton
def test_tf32_is_used_where_torch_allows_it_by_either_setting():
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        for precision, allowed in (("tf32", True), ("ieee", False)):
            matmul.fp32_precision = precision
            assert triton._allows_tf32(torch.float32) is allowed
            assert not triton._allows_tf32(torch.float64)
    finally:
        matmul.fp32_precision = before


@needs_triton
class TestWhatItRefuses:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"z": torch.zeros(1, 2, 513), "weight_hh": torch.zeros(513, 513)}, "at most 512 hidden units, got 513"),
            ({"weight_hh": torch.eye(3, dtype=torch.float64)}, "must be all float32, float64, bfloat16 or float16"),
            ({"lagged": True}, "has no lagged and no boundary_norm"),
        ],
    )
    def test_names_what_is_wrong(self, change, message, as_installed):
        given = {"z": torch.zeros(1, 2, 3), "weight_hh": torch.eye(3)} | change
        given = {name: value.to(DEVICE) if isinstance(value, torch.Tensor) else value for name, value in given.items()}
        with pytest.raises(UsageError, match=message):
            fast_weights(**given, norm_weight=None, norm_bias=None, decay=0.9, fast_learning_rate=0.1, backend="triton")

    def test_torch_func_derivatives_take_another_backend(self, as_installed):
        z = torch.randn(1, 2, 3, dtype=torch.float64, device=DEVICE)

        def loss(z, backend):
            eye = torch.eye(3).to(z)
            return fast_weights(z, eye, None, None, decay=0.9, fast_learning_rate=0.1, backend=backend)[0].sum()

        with pytest.raises(UsageError, match="cannot differentiate it"):
            torch.func.grad(loss)(z, "triton")
        assert torch.func.grad(loss)(z, "auto").shape == z.shape


class TestWithoutIt:
    def test_info_says_why_it_is_not_there(self, monkeypatch):
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else find(name))
        assert "pip install 'fastweights[triton]'" in triton.missing()
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        reason = triton.missing()
        assert "sees no GPU" in reason
        monkeypatch.setattr(dispatch, "_TRITON_MISSING", reason)
        assert info.describe()["backends"]["triton"] == reason
        with pytest.raises(UsageError, match=f'backend "triton" cannot run: {reason}'):
            fast_weights(
                torch.zeros(1, 2, 3), torch.eye(3), None, None, decay=0.9, fast_learning_rate=0.1, backend="triton"
            )
        fast_weights(torch.zeros(1, 2, 3), torch.eye(3), None, None, decay=0.9, fast_learning_rate=0.1)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernels_compile_for_a_gpu_and_fit_on_it(tmp_path):
    """An interpreter accepts what a compiler does not, a variable of two types among it."""
    script = Path(__file__).with_name("compile_kernels.py")
    env = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    assert [kernel["name"] for kernel in kernels] == [
        f"{name} R={size}" for size in ("50", "128", "512", "100 population") for name in ("forward", "backward")
    ]
    for kernel in kernels:
        assert kernel["shared"] <= MOST_SHARED, kernel["name"]


@needs_gpu
@needs_triton
class TestOnAGPU:
    def test_auto_is_triton(self):
        layer = FastWeightRNN(3, 5, device="cuda")
        assert layer.backend_for(11) == "triton"
        assert layer.to("cpu").backend_for(11) != "triton"

    def test_another_length_or_batch_compiles_nothing(self):
        from fastweights.kernels.fast_weights import triton_backward_on_chip, triton_backward_pairs, triton_on_chip

        def compiled():
            kernels = (triton_on_chip.forward, triton_backward_on_chip.backward, triton_backward_pairs.backward)
            return [len(cache[0]) for kernel in kernels for cache in kernel.device_caches.values()]

        def run(batch, steps):
            arguments = to(draw(batch, steps, 20), torch.float32)
            differentiate(call_fast_weights, arguments, random_upstream(FAST_WEIGHTS, arguments), backend="triton")

        for sizes, first in (((18, 64, 1000), 17), ((3, 8, 16), 11)):  # the backward pass has two forms
            run(2, first)
            before = compiled()
            for batch, steps in itertools.product((1, 3, 16), sizes):
                run(batch, steps)
            assert compiled() == before

    def test_a_graph_can_be_captured_and_runs_do_not_differ(self):
        arguments = {name: v.float().requires_grad_() for name, v in draw(64, 11, 50).items()}
        upstream = random_upstream(FAST_WEIGHTS, arguments)

        def run():
            results = call_fast_weights(arguments, backend="triton")
            gradients = torch.autograd.grad(results, list(arguments.values()), upstream)
            return [*(result.detach() for result in results), *gradients]  # no graph of one stream lives on in another

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = run()
        graph.replay()
        for _ in range(3):
            assert all(torch.equal(a, b) for a, b in zip(run(), captured, strict=True))

    @pytest.mark.parametrize("hidden", [20, 50, 100, 128, 200, 256, 512])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
    def test_at_full_size(self, hidden, dtype):
        lengths = torch.tensor([150, 33, 1], device="cuda")
        arguments = draw(3, 150, hidden, initial=True)
        assert_equals_the_reference(arguments, dtype, lengths=lengths, fast_learning_rate=0.1)

    def test_state_after_a_part_continues(self):
        arguments = draw(2, 40, 20)
        whole = call_fast_weights(arguments, backend="triton")
        first = call_fast_weights({**arguments, "z": arguments["z"][:, :23]}, backend="triton")
        state = FastWeightState(*first[1:])
        rest = {**arguments, "z": arguments["z"][:, 23:], "h": state.h, "A": state.fast_weights}
        torch.testing.assert_close(call_fast_weights(rest, backend="triton")[2], whole[2], rtol=1e-10, atol=1e-10)
