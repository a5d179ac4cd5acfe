"""Claims about gradients, training and fast weights: a fault in what they check turns each of them red."""

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from fastweights import claims, cli
from fastweights.cells import fast_weights as cell
from fastweights.cells.fast_weights import FastWeightRNN
from fastweights.claims import _trained_loop, section_2_prior_work, section_3_plan, the_final_version, the_paper
from fastweights.claims._trained_loop import contraction_along_run, inner_loop_points
from fastweights.claims.base import claims_of, run
from fastweights.dynamics import MemoryPaths, bptt
from fastweights.errors import RunError, UsageError
from fastweights.kernels import dispatch
from fastweights.memories import CorrelationMemory, DecayingMemory
from fastweights.training import checkpoint
from fastweights.training.config import RunConfig
from fastweights.training.loop import build_model, build_task, complete, train
from fastweights.training.records import RunDirectory
from fastweights.types import LSTMState

# The claims over and over; test_verify.py runs each with its annotations checked.
pytestmark = pytest.mark.usefixtures("as_installed")

MODULES = (section_2_prior_work, section_3_plan, the_final_version, the_paper)
CLAIMS = {claim.id: claim for module in MODULES for claim in claims_of(module)}


def paths_exchanged(right):
    def wrong(*arguments):
        paths = right(*arguments)
        return MemoryPaths(paths.total, paths.direct)

    return wrong


def cell_lost(right):
    def wrong(*arguments, **settings):
        out, state = right(*arguments, **settings)
        return out, LSTMState(state.h, state.h)

    return wrong


def without_start(right):
    return lambda z, W, gain, bias, state, lengths, **settings: right(z, W, gain, bias, None, lengths, **settings)


def rates_exchanged(right):
    def wrong(*arguments, decay, fast_learning_rate, **settings):
        return right(*arguments, decay=fast_learning_rate, fast_learning_rate=decay, **settings)

    return wrong


def norm_left_out(right):
    return lambda z, W, gain, bias, *rest, **settings: right(z, W, None, None, *rest, **settings)


def normalised_over_the_batch(right):
    return lambda z, *arguments, **settings: right(z - z.mean(dim=0), *arguments, **settings)


def negated(right):
    return lambda *arguments, **settings: -right(*arguments, **settings)


# For each claim: where the fault is made, and what it makes of the right function.
FAULTS = {
    "2/gradients-vanish-or-explode": (
        section_2_prior_work,
        "gradient_norms",
        lambda right: lambda *arguments: tuple(part.flip(0) for part in right(*arguments)),
    ),
    "2/lstm-constant-derivative": (section_2_prior_work, "memory_paths", paths_exchanged),
    "2/lstm-neither-explodes-nor-vanishes": (section_2_prior_work, "memory_paths", paths_exchanged),
    "2/lstm-memory-is-linear-in-units": (dispatch.lstm_reference, "lstm", cell_lost),
    "2/fast-weights-memory-is-quadratic": (
        CorrelationMemory,
        "_learn",
        lambda right: lambda self, weights, keys, values: right(self, weights, values, keys),
    ),
    "3/unrolled-recurrence": (dispatch.irnn_reference, "irnn", without_start),
    "3/no-long-term-memory": (section_3_plan, "log_jacobian_product_norms", negated),
    "final/fast-weights-three-steps-back": (dispatch.reference, "fast_weights", rates_exchanged),
    "final/fast-weights-are-a-sum": (dispatch.reference, "fast_weights", rates_exchanged),
    "final/similarity-from-1-to-minus-1": (cell, "attention_weights", negated),
    "final/chain-rule-through-time": (
        bptt,
        "immediate_jacobian",
        lambda right: lambda h, slope: torch.kron(torch.diag(slope), h.unsqueeze(0)),
    ),
    "final/factors-below-one": (the_final_version, "log_jacobian_product_norms", negated),
    "final/cross-entropy": (
        the_final_version,
        "evaluate",
        lambda right: lambda *arguments: right(*arguments)._replace(nll=-right(*arguments).nll),
    ),
    "final/softmax-gradient": (torch.nn.functional, "cross_entropy", negated),
    "final/weight-jacobian": (
        the_final_version,
        "immediate_jacobian",
        lambda right: lambda h, slope: torch.kron(torch.diag(slope), h.unsqueeze(0)),
    ),
    "final/sum-from-two": (
        the_final_version,
        "weight_jacobian",
        lambda right: lambda W, z, start, activation: right(W, z, torch.zeros_like(start), activation),
    ),
    "final/momentum": (torch.optim, "SGD", lambda right: lambda parameters, lr, momentum: right(parameters, lr=lr)),
    "final/adam": (torch.optim, "Adam", lambda right: lambda parameters, lr, eps: right(parameters, lr=lr, eps=0.0)),
    "final/layer-norm-statistics": (cell, "fast_weights", normalised_over_the_batch),
    "final/layer-norm-on-the-slow-term": (dispatch.reference, "fast_weights", norm_left_out),
    "paper/attention": (
        dispatch.attention,
        "_powers_of",
        lambda right: lambda decay, exponents, dtype: right(decay, exponents + 1, dtype),
    ),
    "paper/layer-norm-bounds-the-loop": (dispatch.reference, "fast_weights", norm_left_out),
    "paper/inner-loop-settles": (
        the_paper,
        "contraction",
        lambda right: (
            lambda *arguments, **settings: (found := right(*arguments, **settings))._replace(everywhere=found.exact)
        ),
    ),
    "paper/trained-inner-loop-contracts": (
        _trained_loop,
        "contraction",
        lambda right: (
            lambda *arguments, **settings: (found := right(*arguments, **settings))._replace(exact=found.here)
        ),
    ),
    "paper/decaying-memory": (
        DecayingMemory,
        "_learn",
        lambda right: lambda self, weights, keys, values: right(self, weights, keys.flip(0), values.flip(0)),
    ),
}


def test_every_claim_has_a_fault():
    assert FAULTS.keys() == CLAIMS.keys()
    for module in MODULES:
        assert set(claims_of(module)) <= set(claims.load(module.__name__.rsplit(".", 1)[1])[1])


@pytest.mark.parametrize("id", FAULTS)
def test_a_fault_turns_the_claim_red(id, monkeypatch):
    """Without it the claim agrees: test_verify.py."""
    place, name, fault = FAULTS[id]
    monkeypatch.setattr(place, name, fault(getattr(place, name)))
    faulty = run(CLAIMS[id])
    assert not faulty.error, "the fault was to be measured, not to stop the check"
    assert not faulty.agrees


def curves(draw):
    figure = Figure()
    draw(figure)
    (axes,) = figure.axes
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    return {line.get_label(): torch.as_tensor(line.get_xydata()) for line in axes.lines}


def test_the_picture_of_gradients_shows_one_kept_and_one_on_its_line():
    drawn = curves(CLAIMS["2/gradients-vanish-or-explode"].figure)
    torch.testing.assert_close(drawn["IRNN, W = I"][:, 1], torch.ones(151, dtype=torch.float64))
    rnn, line = drawn["RNN, tanh, ln ρ(W) = −0.109"][:, 1].log(), drawn["slope ln ρ(W)"][:, 1].log()
    assert (rnn - line).abs().max() < math.log(2)
    assert line[-1] - line[0] == pytest.approx(-0.109 * 150)


def test_the_picture_of_what_a_state_holds_has_its_points_on_its_lines():
    drawn = curves(CLAIMS["2/fast-weights-memory-is-quadratic"].figure)
    pairs = {
        "LSTM, rank of ∂state/∂inputs": "2H",
        "fast weights, rank of ∂state/∂inputs": "H(H+1)/2 + H − 1",
        "best A, pairs recalled exactly × H": "H²",
    }
    for points, line in pairs.items():
        expected = dict(drawn[line].tolist())
        assert [expected[units] for units, _ in drawn[points].tolist()] == drawn[points][:, 1].tolist()


def test_the_picture_of_layer_norm_shows_an_explosion_beside_a_bound():
    drawn = curves(CLAIMS["final/layer-norm-on-the-slow-term"].figure)
    assert drawn["LN of the slow term alone"][-1, 1] > 1e100
    assert drawn["LN of the whole sum (eq. 5)"][:, 1].max() <= drawn["√R"][0, 1] == 50**0.5


@pytest.mark.parametrize("boundary_norm", [False, True])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_the_points_of_the_inner_loop_are_those_that_the_layer_comes_through(inner_steps, boundary_norm):
    options = {"inner_steps": inner_steps, "boundary_norm": boundary_norm, "decay": 0.8}
    layer = FastWeightRNN(4, 8, batch_first=True, dtype=torch.float64, **options)
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    with torch.no_grad():
        out, _ = layer(x)
        fast_weights, sums = inner_loop_points(layer, layer.project(x))
        torch.testing.assert_close(torch.relu(layer.norm(sums)), out)
    assert not fast_weights[:, 0].any(), "A(0) = 0"
    powers = 0.8 ** torch.arange(4.0, -1.0, -1.0, dtype=torch.float64)
    stored = torch.einsum("t,bti,btj->bij", 0.5 * powers, out[:, :5], out[:, :5])
    torch.testing.assert_close(fast_weights[:, 5], stored)


@pytest.fixture
def small_run(tmp_path):
    def make(**changes):
        config = RunConfig(
            hidden_size=6, task_options={"num_pairs": 1}, train_size=128, validation_size=20, test_size=20, **changes
        )
        return RunDirectory.create(tmp_path, complete(config))

    return make


def test_the_bounds_along_a_run_are_those_of_its_best_weights(small_run):
    run = small_run(updates=4, evaluate_every=2)
    train(run, stop=lambda: False, notify=lambda metrics: None)
    log = contraction_along_run(run, sequences=3)
    assert log.exact.shape == (3 * 5,), "a sequence of one pair has five steps"
    assert (log.exact <= log.here * (1 + 1e-6)).all()
    assert (log.here <= log.everywhere).all()
    assert not log.fast_weight_norm[::5].any(), "A(0) = 0"
    model = build_model(run.config())
    model.load_state_dict(checkpoint.load(run.path).best)
    tokens = torch.from_numpy(build_task(run.config()).split("test", 20, 0).tokens[:1]).int()
    with torch.no_grad():
        h = model.cell(model.token_inputs()[tokens.long()].transpose(0, 1))[0][0, 0]
    # A(1) = η h(1) h(1)ᵀ, of norm η ‖h(1)‖².
    assert float(log.fast_weight_norm[1]) == pytest.approx(0.5 * float(h @ h), rel=1e-5)
    # The same run, had a GPU trained it.
    config = run.config()
    there = dataclasses.replace(config, device="cuda", cell_options={**config.cell_options, "backend": "triton"})
    (run.path / "config.json").write_text(json.dumps(there.to_dict()))
    assert torch.equal(contraction_along_run(run, sequences=3).exact, log.exact)


def test_a_run_without_an_inner_loop_or_without_weights_has_no_bounds(small_run):
    with pytest.raises(UsageError, match="trains irnn; an inner loop with layer norm needs the cell fast_weights"):
        contraction_along_run(small_run(cell="irnn"), sequences=1)
    with pytest.raises(RunError, match="has no evaluated weights yet; train it for 1000 updates at least"):
        contraction_along_run(small_run(), sequences=1)


def test_the_page_on_the_inner_loop_prints_what_it_says(monkeypatch, tmp_path, capsys):
    """docs/inner-loop.md: its command, run by the command line, and its code; the loop contracts at every step."""
    page = (Path(__file__).parent.parent / "docs" / "inner-loop.md").read_text(encoding="utf-8")
    command = re.search(r"^```\nfastweights (.*?)^```", page, flags=re.MULTILINE | re.DOTALL).group(1)
    code = re.search(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["fastweights", *command.replace("\\\n", " ").split()])
    cli.main()
    capsys.readouterr()
    names = {}
    exec(compile(code, "inner-loop.md", "exec"), names)
    log, later = names["log"], names["later"]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(log._fields)
    assert int(later.sum()) == 200
    assert log.everywhere[later].min() > 100
    assert log.here[later].min() > 1
    assert log.exact[later].max() < 1
