"""The optimiser is torch's Adam and AdamW, bit for bit, without what making them costs."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from fastweights.training.adam import Adam

TRAIN = """
import sys
from pathlib import Path
from fastweights.training.config import RunConfig
from fastweights.training.loop import complete, train
from fastweights.training.records import RunDirectory
from fastweights.training.together import train_together

sizes = dict(train_size=64, validation_size=16, test_size=16, batch_size=16, updates=2, evaluate_every=1)
options = dict(weight_decay=0.1, clip_norm=1.0, **sizes)
for cell in ("fast_weights", "irnn", "lstm", "associative_lstm"):
    configs = [complete(RunConfig(cell=cell, seed=seed, **options)) for seed in (0, 1, 2)]
    alone, *others = [RunDirectory.create(Path(sys.argv[1]), config) for config in configs]
    assert train(alone, stop=lambda: False, notify=lambda message: None)
    assert dict(train_together(others, stop=lambda: False, notify=lambda *said: None)) == dict.fromkeys(others, True)
    assert "torch._dynamo" not in sys.modules, cell
"""


def model_of():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def torchs(model, decay):
    if decay == 0:
        return torch.optim.Adam(model.parameters(), fused=True)
    matrices, others = ([p for p in model.parameters() if (p.ndim > 1) is matrix] for matrix in (True, False))
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0}], fused=True
    )


def give_gradients(*models):
    for parameters in zip(*(model.parameters() for model in models), strict=True):
        gradient = torch.randn_like(parameters[0])
        for parameter in parameters:
            parameter.grad = gradient.clone()


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_every_bit_is_that_of_torchs_classes_also_from_a_state_that_they_saved(decay):
    model, twin = model_of(), model_of()
    other, mine = torchs(model, decay), Adam(twin, decay)
    for turn in range(20):
        give_gradients(model, twin)
        for group in other.param_groups:
            group["lr"] = 0.1 / (turn + 1)
        other.step()
        mine.step(0.1 / (turn + 1))
        for wanted, parameter in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.equal(parameter, wanted)
        saved, found = other.state_dict()["state"], mine.state_dict()["state"]
        assert saved.keys() == found.keys()
        for number, state in saved.items():
            assert all(torch.equal(found[number][name], value) for name, value in state.items())
        if turn == 9:
            mine = Adam(twin, decay)
            mine.load_state_dict(other.state_dict())


def test_a_parameter_without_a_gradient_stays():
    model = model_of()
    adam = Adam(model, 0.5)
    give_gradients(model)
    model[0].weight.grad = model[0].bias.grad = None
    before = [parameter.detach().clone() for parameter in model.parameters()]
    adam.step(0.1)
    moved = [not torch.equal(new, old) for new, old in zip(model.parameters(), before, strict=True)]
    assert moved == [False, False, True, True, True, True]
    assert model[0].weight not in adam.state


def test_numbers_of_steps_are_what_the_fused_update_reads(float64):
    """On a GPU it reads float32, whatever they are."""
    model = model_of()
    adam = Adam(model)
    give_gradients(model)
    adam.step(0.1)
    assert {state["step"].dtype for state in adam.state.values()} == {torch.float32}


def test_what_is_loaded_is_all_that_is_held():
    model = model_of()
    adam = Adam(model)
    give_gradients(model)
    adam.step(0.1)
    adam.load_state_dict({"state": {}})
    assert not adam.state


@pytest.mark.slow
def test_training_does_not_import_torchs_compiler(tmp_path):
    """That would be nearly half of what it takes a worker to start."""
    done = subprocess.run([sys.executable, "-c", TRAIN, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
