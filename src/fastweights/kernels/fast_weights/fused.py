"""The fused fast-weight recurrence as one operator of torch, whichever engine runs it: the compiled core or Triton."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastweights.kernels.activations import Activation
from fastweights.kernels.fast_weights import cpu, triton
from fastweights.kernels.fast_weights.call import Gradients, empty_gradients
from fastweights.kernels.native.operator import Operator
from fastweights.types import FastWeightState

Engine = Literal["cpu", "triton"]


def fast_weights(
    z: Float[Tensor, "B T H"],
    weight_hh: Float[Tensor, "H H"],
    norm_weight: Float[Tensor, " H"] | None,
    norm_bias: Float[Tensor, " H"] | None,
    state: FastWeightState | None,
    lengths: Int[Tensor, " B"] | None,
    *,
    engine: Engine,
    decay: float | Tensor,
    fast_learning_rate: float | Tensor,
    inner_steps: int,
    activation: Activation,
    norm_epsilon: float,
    final_fast_weights: bool,
) -> tuple[Float[Tensor, "B T H"], FastWeightState]:
    """Same arguments and results as the reference. Under autocast Triton runs in float32."""
    h0, A0 = state or (None, None)
    if engine == "triton" and torch.is_autocast_enabled(z.device.type):
        wide = torch.promote_types(weight_hh.dtype, torch.float32)
        z, weight_hh = z.to(wide), weight_hh.to(wide)
        norm_weight, norm_bias, h0, A0 = (t if t is None else t.to(wide) for t in (norm_weight, norm_bias, h0, A0))
    stores = isinstance(fast_learning_rate, Tensor) or fast_learning_rate != 0
    integers = [inner_steps, int(activation == "tanh"), int(final_fast_weights), int(stores)]
    rates = decay, fast_learning_rate, norm_epsilon
    out, h, A = run(z, weight_hh, norm_weight, norm_bias, h0, A0, lengths, rates, integers, engine)
    return out, FastWeightState(h, A)


def run(
    z: Tensor,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    h0: Tensor | None,
    A0: Tensor | None,
    lengths: Tensor | None,
    rates: tuple[float | Tensor, float | Tensor, float],
    integers: list[int],
    engine: Engine,
) -> tuple[Tensor, Tensor, Tensor]:
    """out, h and A, given λ, η and ε, then S, whether f is tanh, whether A is wanted and whether η may not be 0."""
    settings, numbers = _together(rates, z.device)
    integers = [*integers, int(torch.is_grad_enabled())]
    out, h, A, _, _ = _operator(
        z, weight_hh, norm_weight, norm_bias, h0, A0, lengths, settings, numbers, integers, engine
    )
    return out, h, A


def _together(
    rates: tuple[float | Tensor, float | Tensor, float], device: torch.device
) -> tuple[Tensor | None, list[float]]:
    """λ, η and ε as numbers, or where members of a population may each have their own as one float64 tensor."""
    if not any(isinstance(rate, Tensor) for rate in rates):
        return None, [float(rate) for rate in rates]
    wide: dict[str, Any] = {"dtype": torch.float64, "device": device}
    # Not torch.tensor: a number copied to a GPU would end the capture of a CUDA graph.
    return torch.stack([r.to(**wide) if isinstance(r, Tensor) else torch.full((), r, **wide) for r in rates]), []


_ENGINES: dict[str, Any] = {"cpu": cpu, "triton": triton}


def _forward(
    z: Tensor,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    h0: Tensor | None,
    A0: Tensor | None,
    lengths: Tensor | None,
    settings: Tensor | None,
    numbers: list[float],
    integers: list[int],
    engine: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """out (*lead, B, T, H), h (*lead, B, H), A (*lead, B, H, H), and what the backward pass needs."""
    run: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = _ENGINES[engine].forward
    return run(z, weight_hh, norm_weight, norm_bias, h0, A0, lengths, settings, numbers, integers)


def _empty_results(
    z: Tensor,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    h0: Tensor | None,
    A0: Tensor | None,
    lengths: Tensor | None,
    settings: Tensor | None,
    numbers: list[float],
    integers: list[int],
    engine: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    make: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = _ENGINES[engine].empty_results
    return make(z, norm_weight, A0, integers)


def _backward(
    d_out: Tensor | None,
    d_h: Tensor | None,
    d_A: Tensor | None,
    weight_hh: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    lengths: Tensor | None,
    settings: Tensor | None,
    saved: Tensor,
    checkpoints: Tensor,
    numbers: list[float],
    integers: list[int],
    sizes: list[int],
    engine: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of z, W, gain, bias, h(0) and A(0); those of what was not given are empty."""
    run: Callable[..., Gradients] = _ENGINES[engine].backward
    return run(
        *(d_out, d_h, d_A, weight_hh, norm_weight, norm_bias, lengths, settings, saved, checkpoints),
        *(numbers, integers, sizes),
    )


def _remember(inputs: tuple[Any, ...], results: tuple[Tensor, ...]) -> tuple[list[Tensor | None], Any]:
    z, weight_hh, norm_weight, norm_bias, h0, A0, lengths, settings, numbers, integers, engine = inputs
    sizes = [z.shape[-3], z.shape[-2], int(h0 is not None), int(A0 is not None)]
    return [weight_hh, norm_weight, norm_bias, lengths, settings, *results[3:]], (numbers, integers, sizes, engine)


def _gradients(
    backward: Callable[..., Any], saved: tuple[Any, ...], settings: Any, upstream: tuple[Any, ...]
) -> tuple[Any, ...]:
    _, integers, sizes, _ = settings
    d_out, d_h, d_A, _, _ = upstream
    wants_A = integers[2]
    d_z, d_W, d_gain, d_bias, d_h0, d_A0 = backward(d_out, d_h, d_A if wants_A else None, *saved, *settings)
    normed = saved[1] is not None
    return (
        *(d_z, d_W, d_gain if normed else None, d_bias if normed else None),
        *(d_h0 if sizes[2] else None, d_A0 if sizes[3] else None, None, None, None, None, None),
    )


_operator = Operator(
    "fast_weights",
    devices=("cpu", "cuda"),
    forward=_forward,
    empty_results=_empty_results,
    backward=_backward,
    empty_gradients=lambda d_out, d_h, d_A, weight_hh, norm_weight, *rest: empty_gradients(
        weight_hh, norm_weight, rest[-2]
    ),
    remember=_remember,
    gradients=_gradients,
)
