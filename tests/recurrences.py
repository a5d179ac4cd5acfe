"""The recurrences as functions of named float64 tensors, drawn at random; results and gradients to compare."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastweights.kernels import LSTMNorm, associative_lstm, fast_weights, irnn, lstm
from fastweights.types import AssociativeLSTMState, FastWeightState, LSTMState, RNNState

Arguments = dict[str, Tensor]
Results = tuple[Tensor, ...]


@dataclass(frozen=True)
class Recurrence:
    """A recurrence with its settings, as a function of named tensors; those of its norm or state may be absent."""

    name: str
    call: Callable[..., Results]
    draw: Callable[..., Arguments]

    def __str__(self) -> str:
        return self.name


def normal(*shape: int, scale: float = 1.0, mean: float = 0.0) -> Tensor:
    return mean + scale * torch.randn(*shape, dtype=torch.float64)


def call_fast_weights(arguments: Arguments, **options: Any) -> Results:
    given = dict(arguments)
    state = FastWeightState(given.pop("h"), given.pop("A")) if "h" in given else None
    gain, bias = given.pop("norm_weight", None), given.pop("norm_bias", None)
    options = {"decay": 0.9, "fast_learning_rate": 0.5 if gain is not None else 0.02, **options}
    out, final = fast_weights(**given, norm_weight=gain, norm_bias=bias, state=state, **options)
    return out, *final


def draw_fast_weights(batch: int, steps: int, hidden: int, *, norm: bool, initial: bool) -> Arguments:
    arguments = draw_irnn(batch, steps, hidden, norm=norm, initial=initial)
    if initial:
        arguments["A"] = normal(batch, hidden, hidden, scale=0.3 / hidden**0.5)
    return arguments


def call_irnn(arguments: Arguments, **options: Any) -> Results:
    given = dict(arguments)
    state = RNNState(given.pop("h")) if "h" in given else None
    out, final = irnn(**given, state=state, **options)
    return out, *final


def draw_irnn(batch: int, steps: int, hidden: int, *, norm: bool, initial: bool) -> Arguments:
    scale = hidden**-0.5
    arguments = {
        "z": normal(batch, steps, hidden, scale=1 if norm else scale),
        "weight_hh": normal(hidden, hidden, scale=0.3 * scale),
    }
    if norm:
        arguments["norm_weight"] = normal(hidden, mean=1, scale=0.3)
        arguments["norm_bias"] = normal(hidden, scale=0.3)
    if initial:
        arguments["h"] = normal(batch, hidden, scale=scale)
    return arguments


def call_lstm(arguments: Arguments, **options: Any) -> Results:
    given = dict(arguments)
    state = LSTMState(given.pop("h"), given.pop("c")) if "h" in given else None
    norm = LSTMNorm(*(given.pop(name) for name in LSTMNorm._fields)) if "hh_weight" in given else None
    out, final = lstm(**given, norm=norm, state=state, **options)
    return out, *final


def draw_lstm(batch: int, steps: int, hidden: int, *, norm: bool, initial: bool) -> Arguments:
    arguments = {
        "z": normal(batch, steps, 4 * hidden),
        "weight_hh": normal(4 * hidden, hidden, scale=0.5 * hidden**-0.5),
    }
    if norm:
        for name, size in (("hh", 4 * hidden), ("cell", hidden)):
            arguments[f"{name}_weight"] = normal(size, mean=0.5, scale=0.2)
            arguments[f"{name}_bias"] = normal(size, scale=0.2)
    if initial:
        arguments["h"] = normal(batch, hidden)
        arguments["c"] = normal(batch, hidden)
    return arguments


HEADS, COPIES = 2, 3


def call_associative_lstm(arguments: Arguments, **options: Any) -> Results:
    given = dict(arguments)
    state = AssociativeLSTMState(given.pop("h"), given.pop("c")) if "h" in given else None
    half = given["weight_hh"].shape[-1] // 2
    # Copy s reads entry j of a key at j + s, round the end.
    permutations = (torch.arange(half) + torch.arange(COPIES)[:, None]) % half
    permutations = permutations.to(given["z"].device)
    out, final = associative_lstm(**given, permutations=permutations, heads=HEADS, state=state, **options)
    return out, *final


def draw_associative_lstm(batch: int, steps: int, hidden: int, *, norm: bool, initial: bool) -> Arguments:
    """`hidden` complex units."""
    rows = (1 + 8 * HEADS) * hidden
    arguments = {
        "z": normal(batch, steps, rows),
        "weight_hh": normal(rows, 2 * hidden, scale=0.2 * hidden**-0.5),
    }
    if norm:
        arguments["norm_weight"] = normal(rows, mean=0.2, scale=0.1)
        arguments["norm_bias"] = normal(rows, scale=0.2)
    if initial:
        arguments["h"] = normal(batch, 2 * hidden)
        arguments["c"] = normal(batch, COPIES, 2 * hidden)
    return arguments


FAST_WEIGHTS = Recurrence("fast_weights", call_fast_weights, draw_fast_weights)
RECURRENCES = [
    FAST_WEIGHTS,
    Recurrence("irnn", call_irnn, draw_irnn),
    Recurrence("lstm", call_lstm, draw_lstm),
    Recurrence("associative_lstm", call_associative_lstm, draw_associative_lstm),
]


def differentiate(call: Callable[..., Results], arguments: Arguments, upstream: Results, **options: Any) -> Arguments:
    """Every result of a call, and the gradient of every argument."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in arguments.items()}
    results = call(leaves, **options)
    weights = [weight.to(result.dtype) for weight, result in zip(upstream, results, strict=True)]
    gradients = torch.autograd.grad(results, list(leaves.values()), weights)
    named = {f"result {index}": result.detach() for index, result in enumerate(results)}
    return named | {f"gradient of {name}": value for name, value in zip(leaves, gradients, strict=True)}


def random_upstream(recurrence: Recurrence, arguments: Arguments, **options: Any) -> Results:
    with torch.no_grad():
        return tuple(torch.randn_like(result) for result in recurrence.call(arguments, backend="reference", **options))


def to(arguments: Arguments, dtype: torch.dtype) -> Arguments:
    return {name: value.to(dtype) for name, value in arguments.items()}


def assert_same(actual: Arguments, expected: Arguments, tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        error = (actual[name].double() - value).abs().max() / value.abs().max().clamp(min=1)
        assert error < tolerance, f"{name}: off by {error:.1e}"
