"""The stacked optimiser is torch's Adam and AdamW, for each model by itself."""

import copy

import pytest
import torch
from torch import nn

from fastweights.training.adam import Adam
from fastweights.training.stacked_adam import Layout, StackedAdam

RATES = (1e-2, 3e-3, 0.5, 1e-3)
DECAYS = (0.0, 0.1, 0.0, 2.0)
CLIP_NORMS = (None, 0.5, 1e-3, 1e6)
STEPS_BEFORE = (0, 1, 7, 400)

pytestmark = pytest.mark.usefixtures("float64")


def model_of():
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def optimizer_of(model, rate, decay):
    matrices = {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": decay}
    others = {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0}
    if decay == 0:
        return torch.optim.Adam(model.parameters(), lr=rate)
    return torch.optim.AdamW([matrices, others], lr=rate)


def step(model, optimizer, gradients, clip_norm, *rate):
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step(*rate)


def gradients_of(model):
    return [torch.randn_like(parameter) for parameter in model.parameters()]


def stack(models, optimizers, clip_norms):
    """The weights, which the models then look into, and their optimiser."""
    layout = Layout.of(models[0])
    weights = torch.stack([torch.cat([p.detach().flatten() for p in model.parameters()]) for model in models])
    for model, row in zip(models, weights, strict=True):
        for parameter, value in zip(model.parameters(), layout.cut(row).values(), strict=True):
            parameter.data = value
    return weights, StackedAdam(weights, layout, models, optimizers, clip_norms)


@pytest.fixture
def pairs():
    """Models at different steps with their optimisers, and equal ones to be stacked."""
    found = []
    for rate, decay, clip_norm, steps in zip(RATES, DECAYS, CLIP_NORMS, STEPS_BEFORE, strict=True):
        model = model_of()
        optimizer = optimizer_of(model, rate, decay)
        for _ in range(steps):
            step(model, optimizer, gradients_of(model), clip_norm)
        twin = copy.deepcopy(model)
        twins = Adam(twin, decay)
        twins.load_state_dict(optimizer.state_dict())
        found.append(((model, optimizer), (twin, twins)))
    return found


def assert_equal(pairs):
    for (model, optimizer), (twin, twins) in pairs:
        for parameter, mine in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine, parameter, rtol=1e-12, atol=1e-12)
            for name, value in optimizer.state[parameter].items():
                wanted = value.to(twins.state[mine][name].dtype)
                torch.testing.assert_close(twins.state[mine][name], wanted, rtol=1e-12, atol=1e-12)


def test_steps_are_those_of_torch_for_each_model(pairs):
    _, adam = stack(*zip(*(twin for _, twin in pairs), strict=True), CLIP_NORMS)
    for turn in range(5):
        gradients = [gradients_of(model) for (model, _), _ in pairs]
        rates = [rate / (turn + 1) for rate in RATES]
        for ((model, optimizer), _), rate, own, clip_norm in zip(pairs, rates, gradients, CLIP_NORMS, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
            step(model, optimizer, own, clip_norm)
        adam.step(torch.stack([torch.cat([g.flatten() for g in own]) for own in gradients]), torch.tensor(rates))
        assert_equal(pairs)


def test_each_optimiser_goes_on_by_itself_and_can_be_saved(pairs):
    _, adam = stack(*zip(*(twin for _, twin in pairs), strict=True), CLIP_NORMS)
    gradients = [gradients_of(model) for (model, _), _ in pairs]
    adam.step(torch.stack([torch.cat([g.flatten() for g in own]) for own in gradients]), torch.tensor(RATES))
    for ((model, optimizer), (twin, twins)), own, clip_norm, rate in zip(
        pairs, gradients, CLIP_NORMS, RATES, strict=True
    ):
        step(model, optimizer, own, clip_norm)
        for _ in range(3):
            own = gradients_of(model)
            step(model, optimizer, own, clip_norm)
            step(twin, twins, own, clip_norm, rate)
    assert_equal(pairs)
    for (_, optimizer), (_, twins) in pairs:
        steps = [state["step"] for state in twins.state_dict()["state"].values()]
        assert steps == [state["step"] for state in optimizer.state_dict()["state"].values()]


def test_a_model_whose_gradient_is_no_number_harms_no_other(pairs):
    weights, adam = stack(*zip(*(twin for _, twin in pairs), strict=True), CLIP_NORMS)
    gradients = torch.randn_like(weights)
    gradients[1] = torch.nan
    adam.step(gradients, torch.tensor(RATES))
    assert weights[1].isnan().all()
    assert weights[[0, 2, 3]].isfinite().all()


def test_a_gradient_of_infinite_norm_that_is_not_to_be_clipped_is_left(pairs):
    """Its entries are finite: only the sum of their squares is not."""
    weights, adam = stack(*zip(*(twin for _, twin in pairs), strict=True), CLIP_NORMS)
    gradients = torch.ones_like(weights)
    gradients[0] = 1e300
    adam.step(gradients, torch.tensor(RATES))
    assert weights[0].isfinite().all()
