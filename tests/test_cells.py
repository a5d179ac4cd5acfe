"""What every cell keeps to, run over whatever cells are discovered, with and without layer norm."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence, unpack_sequence

from fastweights import UsageError, cells
from fastweights.cells.base import RecurrentLayer

INPUT, HIDDEN, BATCH, STEPS = 3, 6, 4, 7


@pytest.fixture(params=cells.names())
def cell(request: pytest.FixtureRequest) -> type[RecurrentLayer]:
    return cells.load(request.param)


@pytest.fixture(params=[False, True], ids=["plain", "layer_norm"])
def layer_norm(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def layer(cell: type[RecurrentLayer], layer_norm: bool, float64: None) -> RecurrentLayer:
    """A small batch-first layer in float64, every parameter moved off the special value it may start from."""
    layer = cell(INPUT, HIDDEN, layer_norm=layer_norm, batch_first=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return layer


def random_state(layer: RecurrentLayer, *batch: int) -> tuple[Tensor, ...]:
    return layer.state_type(*(0.3 * torch.randn(*batch, *size) for size in layer.state_sizes))


def part_of(state: tuple[Tensor, ...], batch: slice) -> tuple[Tensor, ...]:
    return type(state)(*(part[batch] for part in state))


def test_the_future_does_not_reach_the_past(layer):
    x = torch.randn(BATCH, STEPS, INPUT)
    out, _ = layer(x)
    for t in range(STEPS):
        changed = x.clone()
        changed[:, t] += 1
        changed_out, _ = layer(changed)
        assert torch.equal(changed_out[:, :t], out[:, :t])
        assert (changed_out[:, t] != out[:, t]).any()


def test_sequences_do_not_see_each_other(layer):
    x, state = torch.randn(BATCH, STEPS, INPUT), random_state(layer, BATCH)
    out, final = layer(x, state)
    for b in range(BATCH):
        alone, alone_final = layer(x[b : b + 1], part_of(state, slice(b, b + 1)))
        torch.testing.assert_close(alone, out[b : b + 1])
        torch.testing.assert_close(alone_final, part_of(final, slice(b, b + 1)))


def test_layouts_agree(layer):
    x, state = torch.randn(BATCH, STEPS, INPUT), random_state(layer, BATCH)
    out, final = layer(x, state)
    layer.batch_first = False
    time_first, time_first_final = layer(x.transpose(0, 1), state)
    assert torch.equal(time_first.transpose(0, 1), out)
    unbatched, unbatched_final = layer(x[0], type(state)(*(part[0] for part in state)))
    torch.testing.assert_close(unbatched, out[0])
    for part, time_first_part, unbatched_part in zip(final, time_first_final, unbatched_final, strict=True):
        assert torch.equal(time_first_part, part)
        torch.testing.assert_close(unbatched_part, part[0])


@pytest.mark.parametrize("given", [False, True], ids=["from zero", "from a state"])
def test_streaming_in_pieces_is_one_pass(layer, given):
    x, state = torch.randn(BATCH, STEPS, INPUT), random_state(layer, BATCH) if given else None
    out, final = layer(x, state)
    pieces = []
    for piece in x.split([1, 4, 2], dim=1):
        piece_out, state = layer(piece, state)
        pieces.append(piece_out)
    torch.testing.assert_close(torch.cat(pieces, dim=1), out)
    torch.testing.assert_close(state, final)


def test_no_state_is_a_state_of_zeros(layer):
    x = torch.randn(BATCH, STEPS, INPUT)
    zeros = layer.state_type(*(torch.zeros(BATCH, *size) for size in layer.state_sizes))
    torch.testing.assert_close(layer(x), layer(x, zeros))


def test_the_state_carries_the_last_output(layer):
    out, state = layer(torch.randn(BATCH, STEPS, INPUT))
    assert torch.equal(state.h, out[:, -1])


@pytest.mark.parametrize("lengths", [(7, 5, 5, 1), (2, 7, 1, 4)], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("given", [False, True], ids=["from zero", "from a state"])
def test_a_packed_sequence_is_each_sequence_alone(layer, lengths, given):
    sequences = [torch.randn(length, INPUT) for length in lengths]
    state = random_state(layer, BATCH) if given else None
    packed = pack_sequence(sequences, enforce_sorted=list(lengths) == sorted(lengths, reverse=True))
    out, final = layer(packed, state)
    assert isinstance(out, PackedSequence)
    for b, (sequence, sequence_out) in enumerate(zip(sequences, unpack_sequence(out), strict=True)):
        first = None if state is None else type(state)(*(part[b] for part in state))
        alone, alone_final = layer(sequence, first)
        torch.testing.assert_close(sequence_out, alone)
        torch.testing.assert_close(type(final)(*(part[b] for part in final)), alone_final)


def test_a_packed_sequence_unpacks_as_in_torch(layer):
    x, lengths = torch.randn(BATCH, STEPS, INPUT), torch.tensor([2, 7, 1, 4])
    rnn = nn.RNN(INPUT, HIDDEN, batch_first=True)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    ours, theirs = layer(packed)[0], rnn(packed)[0]
    assert torch.equal(ours.batch_sizes, theirs.batch_sizes)
    assert torch.equal(ours.sorted_indices, theirs.sorted_indices)
    padded, padded_lengths = pad_packed_sequence(ours, batch_first=True)
    assert torch.equal(padded_lengths, lengths)
    torch.testing.assert_close(padded[1], layer(x[1])[0])


def test_project_then_scan_is_the_layer(layer):
    x, state = torch.randn(BATCH, STEPS, INPUT), random_state(layer, BATCH)
    torch.testing.assert_close(layer.scan(layer.project(x), state), layer(x, state))
    # Row by row: each step's projection is the same with nothing around it.
    torch.testing.assert_close(layer.project(x)[1, 2], layer.project(x[1, 2]))


def test_gradients_are_those_of_the_function(layer):
    names = [name for name, _ in layer.named_parameters()]
    inputs = [torch.randn(2, 3, INPUT), *random_state(layer, 2), *(p.detach() for p in layer.parameters())]
    parts = len(layer.state_sizes)

    def function(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        parameters = dict(zip(names, rest[parts:], strict=True))
        out, final = torch.func.functional_call(layer, parameters, (x, layer.state_type(*rest[:parts])))
        return out, *final

    assert torch.autograd.gradcheck(function, [value.requires_grad_() for value in inputs], fast_mode=True)


def test_every_parameter_takes_part(layer):
    out, _ = layer(torch.randn(BATCH, STEPS, INPUT))
    out.square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.any(), f"{name} has no gradient"


def test_the_seed_fixes_the_layer(cell, layer_norm):
    def made(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return cell(INPUT, HIDDEN, layer_norm=layer_norm).state_dict()

    first, again, other = made(1), made(1), made(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["weight_ih"], other["weight_ih"])


def test_reset_parameters_is_a_fresh_layer(cell, layer_norm):
    torch.manual_seed(1)
    fresh = cell(INPUT, HIDDEN, layer_norm=layer_norm)
    used = cell(INPUT, HIDDEN, layer_norm=layer_norm)
    with torch.no_grad():
        for parameter in used.parameters():
            parameter.fill_(math.nan)
    torch.manual_seed(1)
    used.reset_parameters()
    for name, value in fresh.state_dict().items():
        assert torch.equal(used.state_dict()[name], value), name


def test_a_state_dict_carries_everything(cell, layer_norm, tmp_path):
    layer = cell(INPUT, HIDDEN, layer_norm=layer_norm)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    copy = cell(INPUT, HIDDEN, layer_norm=layer_norm)
    copy.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    x = torch.randn(STEPS, BATCH, INPUT)
    assert torch.equal(copy(x)[0], layer(x)[0])


def test_bfloat16_autocast_stays_near_float32(cell, layer_norm):
    layer = cell(INPUT, HIDDEN, layer_norm=layer_norm)
    x = torch.randn(STEPS, BATCH, INPUT)
    expected, _ = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, state = layer(x[:3])
        rest, _ = layer(x[3:], state)
    out = torch.cat([half, rest]).float()
    out.sum().backward()
    # bfloat16 has 8 significant bits; a step rounds a handful of times, and seven steps follow one another.
    assert (out - expected).abs().max() < 16 * 2**-8 * expected.abs().max()
    assert not torch.equal(out, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_is_the_layers(cell, layer_norm, dtype):
    layer = cell(INPUT, HIDDEN, layer_norm=layer_norm, dtype=dtype)
    out, state = layer(torch.randn(STEPS, BATCH, INPUT, dtype=dtype))
    assert {part.dtype for part in (out, *state)} == {dtype}
    assert {parameter.dtype for parameter in layer.parameters()} == {dtype}


def test_compiles_without_a_graph_break(layer, as_installed):
    torch.compiler.reset()
    x, state = torch.randn(2, 2, INPUT), random_state(layer, 2)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    expected, actual = layer(x, state), compiled(x, state)
    torch.testing.assert_close(actual, expected)
    parameters = list(layer.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(actual[0].square().sum(), parameters),
        torch.autograd.grad(expected[0].square().sum(), parameters),
    )


def test_compiled_for_any_size_it_is_not_compiled_for_each(layer, as_installed):
    if layer.backend_for(STEPS) != "cpu":
        pytest.skip("a loop over time is compiled anew for every T")
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        # At first unlike all other sizes: equal ones are taken for one. More than a block of sequences, and few enough
        # steps for the core not to cut them into chunks: these it tells apart.
        for batch, steps in ((20, 5), (33, 7), (11, 2)):
            x, state = torch.randn(batch, steps, INPUT), random_state(layer, batch)
            torch.testing.assert_close(compiled(x, state), layer(x, state))


def test_vmap_over_stacked_parameters_is_each_alone(cell, layer_norm, as_installed):
    layers = [cell(INPUT, HIDDEN, layer_norm=layer_norm) for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(layers)
    x = torch.randn(STEPS, BATCH, INPUT)

    def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layers[0], (parameters, buffers), (x,))[0]

    together = torch.func.vmap(call)(parameters, buffers)
    for layer, out in zip(layers, together, strict=True):
        torch.testing.assert_close(out, layer(x)[0])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((STEPS,), r"input must be \(T, B, I\) or, unbatched, \(T, I\), with I = 3 .* got shape \(7,\)"),
        ((STEPS, BATCH, INPUT + 1), r"got shape \(7, 4, 4\)"),
        ((0, BATCH, INPUT), r"no empty dimension; got shape \(0, 4, 3\)"),
        ((STEPS, 0, INPUT), r"no empty dimension; got shape \(7, 0, 3\)"),
        ((0, INPUT), r"no empty dimension; got shape \(0, 3\)"),
    ],
)
def test_input_of_a_wrong_shape(cell, shape, message):
    with pytest.raises(UsageError, match=message):
        cell(INPUT, HIDDEN)(torch.zeros(shape))


def test_input_of_a_wrong_kind(cell):
    layer = cell(INPUT, HIDDEN)
    with pytest.raises(UsageError, match=r"input has dtype torch.float64 but the layer torch.float32"):
        layer(torch.zeros(STEPS, INPUT, dtype=torch.float64))
    with pytest.raises(UsageError, match=r"input has dtype torch.int64 but the layer torch.float32"):
        layer(torch.zeros(STEPS, INPUT, dtype=torch.long))
    with pytest.raises(UsageError, match="input is on meta but the layer is on cpu"):
        layer(torch.zeros(STEPS, INPUT, device="meta"))
    with pytest.raises(UsageError, match="packed input must have 3 features, got 2"):
        layer(pack_sequence([torch.zeros(4, 2)]))


def test_state_of_a_wrong_kind(cell):
    layer, x = cell(INPUT, HIDDEN), torch.zeros(STEPS, BATCH, INPUT)
    packed = pack_padded_sequence(x, [7, 2, 3, 1], enforce_sorted=False)
    name = layer.state_type.__name__
    for given in (x, x[:, 0], packed):
        for bad in (torch.zeros(BATCH, HIDDEN), (), tuple(torch.zeros(4, 4) for _ in range(5))):
            with pytest.raises(UsageError, match=rf"state must be a {name}\(h.*, got"):
                layer(given, bad)
    good = random_state(layer, BATCH)
    for given in (x, packed):
        with pytest.raises(UsageError, match=r"state.h must have shape \(4, 6\), got \(3, 6\)"):
            layer(given, part_of(good, slice(3)))
    with pytest.raises(UsageError, match=r"state.h must have shape \(6,\), got \(4, 6\)"):
        layer(x[:, 0], good)
    with pytest.raises(UsageError, match=r"state.h has dtype torch.float64 but the layer torch.float32"):
        layer(x, type(good)(*(part.double() for part in good)))
    with pytest.raises(UsageError, match=r"state.h must be a tensor, got NoneType"):
        layer(x, type(good)(*(None for _ in good)))
    with pytest.raises(UsageError, match=r"state.h is on meta but the layer is on cpu"):
        layer(x, type(good)(*(part.to("meta") for part in good)))


def test_sizes_that_cannot_be(cell):
    with pytest.raises(UsageError, match="input_size must be at least 1, got 0"):
        cell(0, HIDDEN)
    with pytest.raises(UsageError, match="hidden_size must be at least 1, got -2"):
        cell(INPUT, -2)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("associative_lstm", {"heads": 1.5}),
        ("associative_lstm", {"copies": 2.0}),
        ("tapped_delay", {"order": 2.5}),
        ("gamma_memory", {"order": 2.5}),
    ],
)
def test_counts_are_integers(name, options):
    ((option, value),) = options.items()
    with pytest.raises(UsageError, match=f"{option} must be a whole number, got {value}"):
        cells.load(name)(INPUT, HIDDEN, **options)


def test_a_repr_tells_readings_apart():
    plain, lagged = (cells.load("fast_weights")(3, 4, lagged=lagged) for lagged in (False, True))
    assert repr(lagged) == repr(plain).replace("'auto'", "'auto', lagged=True", 1) != repr(plain)


def test_a_misspelt_cell_suggests_the_nearest():
    with pytest.raises(UsageError, match=r"unknown cell 'fast_weight': did you mean 'fast_weights'\?"):
        cells.load("fast_weight")


@pytest.mark.parametrize("name", cells.names())
def test_the_norms_own_epsilon_counts(name, float64):
    """With an epsilon beyond measure a norm returns its bias, whatever the matrices make of the input."""
    layer = cells.load(name)(3, 6, layer_norm=True)
    for module in layer.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e30
            torch.nn.init.normal_(module.bias)
    x = torch.randn(7, 4, 3)
    before, _ = layer(x)
    with torch.no_grad():
        layer.weight_ih.normal_()
        if hasattr(layer, "weight_hh"):
            layer.weight_hh.normal_()
    torch.testing.assert_close(layer(x)[0], before)


@pytest.mark.parametrize(
    ("name", "fan", "options"),
    [
        ("lstm", 64, {}),
        ("irnn", 64, {}),
        ("associative_lstm", 64, {}),
        ("tapped_delay", 5 * 20, {"order": 4}),
        ("gamma_memory", 5 * 20, {"order": 4}),
    ],
)
def test_matrices_start_uniform_within_the_stated_bounds(name, fan, options):
    layer = cells.load(name)(20, 64, **options)
    matrices = [layer.weight_ih] + ([layer.weight_hh] if name.endswith("lstm") else [])
    for matrix in matrices:
        share = matrix * math.sqrt(fan)
        assert 0.98 < share.max() <= 1 + 1e-6
        assert -1 - 1e-6 <= share.min() < -0.98
        # The variance of a uniform variable's square is 4/45 of its range's half to the fourth: five standard errors.
        assert abs(share.square().mean() - 1 / 3) < 5 * math.sqrt(4 / 45 / share.numel())


@pytest.mark.parametrize("name", cells.names())
def test_the_output_is_zero_past_a_sequences_end(name):
    layer = cells.load(name)(3, 6, batch_first=True)
    out, _ = layer.scan(layer.project(torch.randn(3, 7, 3)), None, torch.tensor([2, 7, 4]))
    for b, length in enumerate((2, 7, 4)):
        assert out[b, :length].any()
        assert not out[b, length:].any()


def test_a_decay_of_one_does_not_warn():
    cells.load("fast_weights")(3, 4, decay=1.0)
    with pytest.warns(UserWarning, match="above 1"):
        cells.load("fast_weights")(3, 4, decay=1.01)


def test_the_forget_gate_alone_starts_with_a_bias():
    layer = cells.load("associative_lstm")(3, 8, forget_bias=2.0)
    assert layer.bias.tolist() == [2.0] * 4 + [0.0] * (layer.bias.numel() - 4)
    assert cells.load("lstm")(3, 2, forget_bias=2.0).bias.tolist() == [0, 0, 2, 2, 0, 0, 0, 0]


def test_one_epsilon_is_what_an_lstm_has():
    layer = cells.load("lstm")(3, 4, layer_norm=True)
    layer.norm_cell.eps = 1e-3
    with pytest.raises(UsageError, match=r"norm_cell.eps must equal norm_hh.eps = 1e-05, got 0.001"):
        layer(torch.randn(2, 3))
