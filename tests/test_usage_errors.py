"""Arguments that kernels and layers refuse: each message names the argument, its value and the fix."""

import math

import pytest
import torch

from fastweights import AssociativeLSTM, FastWeightRNN, FastWeightState, LSTMState, UsageError, kernels
from fastweights.kernels import LSTMNorm

pytestmark = pytest.mark.usefixtures("as_installed")

Z, W, ONES = torch.zeros(2, 5, 4), torch.zeros(4, 4), torch.ones(4)

SETTINGS = {
    "decay nan": ({"decay": math.nan}, "decay must be finite and at least 0, got nan"),
    "decay infinite": ({"decay": math.inf}, "decay must be finite and at least 0, got inf"),
    "decay negative": ({"decay": -0.1}, r"decay must be finite and at least 0, got -0\.1"),
    "rate nan": ({"fast_learning_rate": math.nan}, "fast_learning_rate must be finite, got nan"),
    "no inner step": ({"inner_steps": 0}, "inner_steps must be an integer of at least 1, got 0"),
    "backend": ({"backend": "atention"}, r"unknown backend 'atention': did you mean 'attention'\? choose from"),
    "activation": (
        {"activation": "rellu"},
        r"unknown activation 'rellu': did you mean 'relu'\? choose from relu, tanh",
    ),
}


@pytest.mark.parametrize(("options", "message"), SETTINGS.values(), ids=SETTINGS)
def test_impossible_settings(options, message):
    with pytest.raises(UsageError, match=message):
        FastWeightRNN(3, 4, **options)
    with pytest.raises(UsageError, match=message):
        kernels.fast_weights(Z, W, None, None, **{"decay": 0.9, "fast_learning_rate": 0.5, **options})


def test_a_memory_that_grows_is_allowed_with_a_warning():
    with pytest.warns(UserWarning, match=r"decay = 1\.01 is above 1: the fast weights grow without bound"):
        layer = FastWeightRNN(3, 4, decay=1.01)
    layer(torch.zeros(5, 3))


def test_attention_needs_a_batch():
    with pytest.raises(UsageError, match=r"attention needs batched input of three dimensions, got shape \(5, 3\)"):
        FastWeightRNN(3, 4).attention(torch.zeros(5, 3))


FAST_WEIGHTS = {
    "z unbatched": ({"z": Z[0]}, r"z must have three dimensions \(B, T, Z\), none empty, got shape \(5, 4\)"),
    "no step": ({"z": Z[:, :0]}, r"none empty, got shape \(2, 0, 4\)"),
    "W": ({"weight_hh": W[:3]}, r"weight_hh must have shape \(4, 4\), got \(3, 4\)"),
    "gain alone": ({"norm_weight": ONES}, "norm_weight and norm_bias must be given together, or both be None"),
    "bias alone": ({"norm_bias": ONES}, "norm_weight and norm_bias must be given together, or both be None"),
    "gain": ({"norm_weight": ONES[:1], "norm_bias": ONES}, r"norm_weight must have shape \(4,\), got \(1,\)"),
    "bias": ({"norm_weight": ONES, "norm_bias": ONES[:2]}, r"norm_bias must have shape \(4,\), got \(2,\)"),
    "lengths": ({"lengths": torch.tensor([5])}, r"lengths must have shape \(2,\), got \(1,\)"),
    "h": (
        {"state": FastWeightState(torch.zeros(1, 4), torch.zeros(2, 4, 4))},
        r"state.h must have shape \(2, 4\), got \(1, 4\)",
    ),
    "A": (
        {"state": FastWeightState(torch.zeros(2, 4), torch.zeros(2, 4))},
        r"state.fast_weights must have shape \(2, 4, 4\), got \(2, 4\)",
    ),
    "device": ({"weight_hh": W.to("meta")}, "weight_hh is on meta but z is on cpu; move one of them"),
}


@pytest.mark.parametrize(("options", "message"), FAST_WEIGHTS.values(), ids=FAST_WEIGHTS)
def test_fast_weights_arguments(options, message):
    good = {"z": Z, "weight_hh": W, "norm_weight": None, "norm_bias": None, "decay": 0.9, "fast_learning_rate": 0.5}
    with pytest.raises(UsageError, match=message):
        kernels.fast_weights(**{**good, **options})


def test_irnn_arguments():
    with pytest.raises(UsageError, match=r"weight_hh must have shape \(4, 4\), got \(4, 3\)"):
        kernels.irnn(Z, W[:, :3])
    with pytest.raises(UsageError, match="norm_weight and norm_bias must be given together"):
        kernels.irnn(Z, W, ONES)


def test_lstm_arguments():
    with pytest.raises(UsageError, match="the last dimension of z must be a multiple of 4, got 3"):
        kernels.lstm(Z[..., :3], W)
    weight = torch.zeros(4, 1)
    with pytest.raises(UsageError, match=r"norm.cell_weight must have shape \(1,\), got \(4,\)"):
        kernels.lstm(Z, weight, LSTMNorm(ONES, ONES, ONES, ONES[:1]))
    with pytest.raises(UsageError, match=r"state.c must have shape \(2, 1\), got \(2, 4\)"):
        kernels.lstm(Z, weight, state=LSTMState(torch.zeros(2, 1), torch.zeros(2, 4)))


def test_associative_lstm_arguments():
    with pytest.raises(UsageError, match=r"hidden_size must be even \(half real parts, half imaginary parts\), got 5"):
        AssociativeLSTM(3, 5)
    with pytest.raises(UsageError, match="copies must be at least 1, got 0"):
        AssociativeLSTM(3, 4, copies=0)
    with pytest.raises(UsageError, match="heads must be at least 1, got -1"):
        AssociativeLSTM(3, 4, heads=-1)
    z, weight, permutations = torch.zeros(2, 5, 9 * 2), torch.zeros(9 * 2, 4), torch.arange(2).expand(3, 2)
    with pytest.raises(UsageError, match="heads must be at least 1, got 0"):
        kernels.associative_lstm(z, weight, permutations, heads=0)
    with pytest.raises(UsageError, match="the last dimension of z must be a multiple of 17, got 18"):
        kernels.associative_lstm(z, weight, permutations, heads=2)
    with pytest.raises(UsageError, match=r"permutations must have shape \(3, 2\), got \(3, 1\)"):
        kernels.associative_lstm(z, weight, permutations[:, :1], heads=1)
    with pytest.raises(UsageError, match=r"weight_hh must have shape \(18, 4\), got \(18, 3\)"):
        kernels.associative_lstm(z, weight[:, :3], permutations, heads=1)
