"""The classifier of Section 4.1."""

import pytest
import torch

from fastweights import cells
from fastweights.model import SequenceClassifier


def build(name, dtype=torch.float64):
    torch.manual_seed(0)
    return SequenceClassifier(37, 10, cells.load(name)(12, 8), embedding_size=5, head_size=7).to(dtype)


@pytest.mark.parametrize("name", cells.names())
def test_projecting_each_token_once_equals_feeding_every_step_to_the_layer(name):
    model = build(name)
    tokens = torch.randint(0, 37, (6, 11))
    _, state = model.cell(torch.relu(model.expand(model.embedding(tokens))).transpose(0, 1))
    expected = model.logits(torch.relu(model.head(state.h)))
    torch.testing.assert_close(model(tokens), expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(model(tokens), list(model.parameters()), upstream)
    wanted = torch.autograd.grad(expected, list(model.parameters()), upstream)
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-10, atol=1e-12)


def test_the_papers_sizes():
    model = SequenceClassifier(37, 10, cells.load("fast_weights")(100, 50))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["embedding.weight"] == (37, 50)
    assert shapes["expand.weight"] == (100, 50)
    assert shapes["head.weight"] == (100, 50)
    assert shapes["logits.weight"] == (10, 100)
    # W, C, bias, and the gain and bias of layer norm: 7.6k slow parameters at R = 50.
    assert sum(p.numel() for p in model.cell.parameters()) == 50 * 50 + 50 * 100 + 50 + 100
