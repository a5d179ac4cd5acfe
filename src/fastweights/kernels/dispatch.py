"""The recurrences as pure functions: arguments are checked once, then handed to the backend that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch._C._functorch import TransformType

from fastweights.errors import UsageError, unknown_name
from fastweights.kernels.activations import ACTIVATIONS, Activation
from fastweights.kernels.associative_lstm import cpu as associative_lstm_cpu
from fastweights.kernels.associative_lstm import reference as associative_lstm_reference
from fastweights.kernels.fast_weights import attention, cpu, fused, reference, triton
from fastweights.kernels.irnn import cpu as irnn_cpu
from fastweights.kernels.irnn import reference as irnn_reference
from fastweights.kernels.lstm import cpu as lstm_cpu
from fastweights.kernels.lstm import reference as lstm_reference
from fastweights.kernels.lstm.norm import LSTMNorm
from fastweights.types import AssociativeLSTMState, FastWeightState, LSTMState, RNNState

Backend = Literal["auto", "reference", "attention", "cpu", "triton"]
PlainBackend = Literal["auto", "reference", "cpu"]  # of the recurrences without fast weights

# Found once, at import: torch.compile cannot trace the look-up.
_CORE_MISSING = cpu.missing()
_TRITON_MISSING = triton.missing()


def missing_backends() -> dict[str, str]:
    """Names of the backends that are not there, each with the reason and what to do; empty when all are."""
    reasons = {"cpu": _CORE_MISSING, "triton": _TRITON_MISSING}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def check_backend(backend: str, kind: Any = Backend) -> None:
    """Raise UsageError unless `backend` is one of `kind`: Backend or PlainBackend."""
    if backend not in get_args(kind):
        raise unknown_name("backend", backend, get_args(kind))


def resolve_plain_backend(backend: PlainBackend, tensors: Sequence[Tensor | None]) -> PlainBackend:
    """What runs on these tensors: `backend` itself, or for "auto" the compiled core where it can run.

    The core runs on CPU tensors that are all float32 or all float64, outside autocast and the derivatives of torch.func
    (its vmap is fine). Asking for "cpu" elsewhere is a UsageError.
    """
    if backend == "reference":
        return backend
    reason = _why_not_cpu([tensor for tensor in tensors if tensor is not None])
    if reason is None:
        return "cpu"
    if backend == "cpu":
        raise UsageError(f'backend "cpu" cannot run: {reason}; or use backend="auto"')
    return "reference"


def resolve_backend(
    backend: Backend, tensors: Sequence[Tensor | None], steps: int, hidden_size: int, *, reference_only: bool = False
) -> Backend:
    """What runs T = `steps` steps on these tensors: as `resolve_plain_backend`, or on CUDA tensors Triton where it can
    run; but attention in place of the reference while T ≤ 2H.

    Triton runs on CUDA tensors of one type, float32, float64, bfloat16 or float16, or of any under autocast, outside
    the derivatives of torch.func, up to H = 512. Up to T = 2H attention holds less for the backward pass than the
    reference does with an A for every step. With `reference_only`, for settings that the other backends do not have,
    asking for one of those is a UsageError.
    """
    if reference_only:
        if backend not in ("auto", "reference"):
            raise UsageError(f'backend {backend!r} has no lagged and no boundary_norm; use backend="auto"')
        return "reference"
    if backend == "attention":
        return backend
    present = [tensor for tensor in tensors if tensor is not None]
    if backend == "triton" or (backend == "auto" and present[0].device.type == "cuda"):
        reason = _why_not_triton(present, hidden_size)
        if reason is None:
            return "triton"
        if backend == "triton":
            raise UsageError(f'backend "triton" cannot run: {reason}; or use backend="auto"')
    resolved = resolve_plain_backend(backend, tensors)
    if backend == "auto" and resolved == "reference" and steps <= 2 * hidden_size:
        return "attention"
    return resolved


def _why_not_cpu(tensors: list[Tensor]) -> str | None:
    """Why the compiled core cannot run on these tensors, and what to do; None if it can."""
    if _CORE_MISSING is not None:
        return _CORE_MISSING
    elsewhere = [str(tensor.device) for tensor in tensors if tensor.device.type != "cpu"]
    if elsewhere:
        return f"a tensor is on {elsewhere[0]}; move it to the CPU"
    if torch.is_autocast_enabled("cpu"):
        return "it does not run under autocast; leave the autocast context"
    if _differentiated_by_torch_func():
        return _NO_TORCH_FUNC
    dtypes = sorted({str(tensor.dtype) for tensor in tensors})
    if dtypes not in (["torch.float32"], ["torch.float64"]):
        return f"its tensors must be all float32 or all float64, got {', '.join(dtypes)}; convert them"
    return None


_NO_TORCH_FUNC = (
    "torch.func cannot differentiate it, only torch.autograd can; leave torch.func.grad, jvp and their like"
)


def _why_not_triton(tensors: list[Tensor], hidden_size: int) -> str | None:
    """Why Triton cannot run on these tensors, and what to do; None if it can."""
    if _TRITON_MISSING is not None:
        return _TRITON_MISSING
    device = "cpu" if triton.interpreted() else "cuda"
    elsewhere = [str(tensor.device) for tensor in tensors if tensor.device.type != device]
    if elsewhere:
        return f"a tensor is on {elsewhere[0]}; move it to {device}"
    if hidden_size > triton.MOST_UNITS:
        return f"it has at most {triton.MOST_UNITS} hidden units, got {hidden_size}"
    if _differentiated_by_torch_func():
        return _NO_TORCH_FUNC
    dtypes = {tensor.dtype for tensor in tensors}
    one = len(dtypes) == 1 or torch.is_autocast_enabled(device)
    if not (one and dtypes <= set(triton.DTYPES)):
        names = ", ".join(sorted(map(str, dtypes)))
        return f"its tensors must be all float32, float64, bfloat16 or float16, got {names}; convert them"
    return None


def _differentiated_by_torch_func() -> bool:
    """Whether torch.func.grad, jvp or the like is under way, for which operators of torch.library have no rules."""
    if torch.compiler.is_compiling():
        return False
    transforms = torch._C._functorch.get_interpreter_stack() or ()
    return any(transform.key() in (TransformType.Grad, TransformType.Jvp) for transform in transforms)


def check_fast_weight_settings(
    decay: float | Tensor, fast_learning_rate: float | Tensor, inner_steps: int, activation: str
) -> None:
    """Raise UsageError for a λ, η, S or f that the recurrence cannot run with; the values of tensors are not read."""
    for name, value in (("decay", decay), ("fast_learning_rate", fast_learning_rate)):
        if isinstance(value, Tensor):
            if value.dim() > 0 or value.requires_grad:
                raise UsageError(f"{name} must be a number, or a tensor of no dimensions that needs no gradient")
        elif not isinstance(value, (int, float)):
            raise UsageError(f"{name} must be a number, got {value!r}")
        elif not _finite(value) or (name == "decay" and value < 0):
            least = " and at least 0" if name == "decay" else ""
            raise UsageError(f"{name} must be finite{least}, got {value!r}")
    if not isinstance(inner_steps, int) or inner_steps < 1:
        raise UsageError(f"inner_steps must be an integer of at least 1, got {inner_steps!r}")
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)


def fast_weights(
    z: Float[Tensor, "B T H"],
    weight_hh: Float[Tensor, "H H"],
    norm_weight: Float[Tensor, " H"] | None,
    norm_bias: Float[Tensor, " H"] | None,
    *,
    decay: float | Tensor,
    fast_learning_rate: float | Tensor,
    inner_steps: int = 1,
    activation: Activation = "relu",
    norm_epsilon: float = 1e-5,
    lagged: bool = False,
    boundary_norm: bool = False,
    state: FastWeightState | None = None,
    lengths: Int[Tensor, " B"] | None = None,
    final_fast_weights: bool = True,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "B T H"], FastWeightState]:
    """The fast-weight recurrence, eqs. 1 and 5 of Ba et al. (2016), given the input product z = C x + b.

    Args:
        z: input product of every step, (B, T, H), T ≥ 1.
        weight_hh: slow recurrent weights W, (H, H).
        norm_weight, norm_bias: layer-norm gain and bias, (H,) each; both None switches layer norm off.
        decay: λ, finite and ≥ 0; or a tensor of no dimensions, which `torch.func.vmap` may map over members of a
            population. It gets no gradient.
        fast_learning_rate: η, finite; or a tensor, as λ.
        inner_steps: S ≥ 1.
        activation: f, "relu" or "tanh".
        norm_epsilon: added to the variance inside layer norm, > 0.
        lagged: the step that computes h(t+1) reads A(t−1), without h(t); the state's fast weights are those that the
            next step reads. Reference only.
        boundary_norm: normalise h_0 too, with the same gain and bias. Reference only.
        state: h(0), (B, H), and A(0), (B, H, H); None is zeros.
        lengths: how many steps of each sequence count, (B,) integers in 1..T; None is T for all. Outputs past the end
            are zero and the state stops changing there. The compiled core alone checks their range: reading it would
            stall a GPU, where Triton clamps them to it.
        final_fast_weights: False leaves the state's fast weights empty, (B, 0, 0), and saves the work for them.
        backend: "reference", "attention", "cpu", "triton" or "auto" (see `resolve_backend`).

    Returns:
        h(1) … h(T), (B, T, H), and the state after each sequence's last step, its h already stored in its A.

    Raises:
        UsageError: a shape or a value outside the above, or a backend that cannot run here.
    """
    batch, steps, hidden = _check_z(z, weight_hh)
    check_fast_weight_settings(decay, fast_learning_rate, inner_steps, activation)
    check_backend(backend)
    _check_norm(norm_weight, norm_bias, hidden, z, norm_epsilon)
    _check_lengths(lengths, batch, z)
    if state is not None:
        _check_shape("state.h", state.h, (batch, hidden), z)
        _check_shape("state.fast_weights", state.fast_weights, (batch, hidden, hidden), z)
    tensors = (z, weight_hh, norm_weight, norm_bias, *(state or ()))
    backends: dict[str, Callable[..., tuple[Tensor, FastWeightState]]] = {
        "reference": reference.fast_weights,
        "attention": attention.fast_weights,
        "cpu": partial(fused.fast_weights, engine="cpu"),
        "triton": partial(fused.fast_weights, engine="triton"),
    }
    run: Callable[..., tuple[Tensor, FastWeightState]]
    if lagged or boundary_norm:
        resolve_backend(backend, tensors, steps, hidden, reference_only=True)
        run = partial(reference.fast_weights, lagged=lagged, boundary_norm=boundary_norm)
    else:
        run = backends[resolve_backend(backend, tensors, steps, hidden)]
    return run(
        z,
        weight_hh,
        norm_weight,
        norm_bias,
        state,
        lengths,
        decay=decay,
        fast_learning_rate=fast_learning_rate,
        inner_steps=inner_steps,
        activation=activation,
        norm_epsilon=norm_epsilon,
        final_fast_weights=final_fast_weights,
    )


def irnn(
    z: Float[Tensor, "B T H"],
    weight_hh: Float[Tensor, "H H"],
    norm_weight: Float[Tensor, " H"] | None = None,
    norm_bias: Float[Tensor, " H"] | None = None,
    *,
    norm_epsilon: float = 1e-5,
    state: RNNState | None = None,
    lengths: Int[Tensor, " B"] | None = None,
    backend: PlainBackend = "auto",
) -> tuple[Float[Tensor, "B T H"], RNNState]:
    """The recurrence h(t+1) = ReLU(LN[W h(t) + z(t+1)]); arguments and errors as for `fast_weights`.

    `backend` is "reference", "cpu" or "auto" (see `resolve_plain_backend`).
    """
    batch, _, hidden = _check_z(z, weight_hh)
    check_backend(backend, PlainBackend)
    _check_norm(norm_weight, norm_bias, hidden, z, norm_epsilon)
    _check_lengths(lengths, batch, z)
    if state is not None:
        _check_shape("state.h", state.h, (batch, hidden), z)
    resolved = resolve_plain_backend(backend, (z, weight_hh, norm_weight, norm_bias, *(state or ())))
    run = irnn_cpu.irnn if resolved == "cpu" else irnn_reference.irnn
    return run(z, weight_hh, norm_weight, norm_bias, state, lengths, norm_epsilon=norm_epsilon)


def lstm(
    z: Float[Tensor, "B T G"],
    weight_hh: Float[Tensor, "G H"],
    norm: LSTMNorm | None = None,
    *,
    norm_epsilon: float = 1e-5,
    state: LSTMState | None = None,
    lengths: Int[Tensor, " B"] | None = None,
    backend: PlainBackend = "auto",
) -> tuple[Float[Tensor, "B T H"], LSTMState]:
    """The LSTM recurrence on the input product z, (B, T, 4H), gates in the order i, f, g, o; see its reference.

    `backend` is "reference", "cpu" or "auto" (see `resolve_plain_backend`).
    """
    batch, _, hidden = _check_z(z, weight_hh, rows=4)
    check_backend(backend, PlainBackend)
    _check_lengths(lengths, batch, z)
    _check_norm_epsilon(norm_epsilon)
    for name, value in zip(LSTMNorm._fields, norm or (), strict=False):
        _check_shape(f"norm.{name}", value, (hidden if name.startswith("cell") else 4 * hidden,), z)
    if state is not None:
        _check_shape("state.h", state.h, (batch, hidden), z)
        _check_shape("state.c", state.c, (batch, hidden), z)
    resolved = resolve_plain_backend(backend, (z, weight_hh, *(norm or ()), *(state or ())))
    run = lstm_cpu.lstm if resolved == "cpu" else lstm_reference.lstm
    return run(z, weight_hh, norm, state, lengths, norm_epsilon=norm_epsilon)


def associative_lstm(
    z: Float[Tensor, "B T Z"],
    weight_hh: Float[Tensor, "Z H"],
    permutations: Int[Tensor, "copies N"],
    norm_weight: Float[Tensor, " Z"] | None = None,
    norm_bias: Float[Tensor, " Z"] | None = None,
    *,
    heads: int,
    norm_epsilon: float = 1e-5,
    state: AssociativeLSTMState | None = None,
    lengths: Int[Tensor, " B"] | None = None,
    backend: PlainBackend = "auto",
) -> tuple[Float[Tensor, "B T H"], AssociativeLSTMState]:
    """The recurrence of the associative LSTM (Danihelka et al. 2016) on the input product z, with N = H/2.

    Args:
        z: (B, T, Z), Z = (1 + 8 heads) N: the forget gate (N), then for one head after the other the gates i, o (N
            each), the keys r_i, r_o and the update u (H each).
        weight_hh: (Z, H), rows in the same order.
        permutations: one row for every copy of the memory, each a permutation of 0 … N−1.
        norm_weight, norm_bias: gain and bias, (Z,), of the layer norm of W h; both None switches it off.
        heads: how often a step writes and reads, at least 1.
        norm_epsilon, lengths: as for `fast_weights`.
        state: h(0), (B, H), and the copies, (B, copies, H); None is zeros.
        backend: "reference", "cpu" or "auto" (see `resolve_plain_backend`).

    Returns:
        h(1) … h(T), (B, T, H), and the state after each sequence's last step.

    Raises:
        UsageError: a shape or a value outside the above, or a backend that cannot run here.
    """
    check_backend(backend, PlainBackend)
    if heads < 1:
        raise UsageError(f"heads must be at least 1, got {heads!r}")
    batch, _, hidden = _check_z(z, weight_hh, rows=1 + 8 * heads, columns=2)
    copies = permutations.shape[0]
    _check_shape("permutations", permutations, (copies, hidden // 2), z)
    _check_norm(norm_weight, norm_bias, z.shape[2], z, norm_epsilon)
    _check_lengths(lengths, batch, z)
    if state is not None:
        _check_shape("state.h", state.h, (batch, hidden), z)
        _check_shape("state.c", state.c, (batch, copies, hidden), z)
    resolved = resolve_plain_backend(backend, (z, weight_hh, norm_weight, norm_bias, *(state or ())))
    backends = {"reference": associative_lstm_reference, "cpu": associative_lstm_cpu}
    run: Callable[..., tuple[Tensor, AssociativeLSTMState]] = backends[resolved].associative_lstm
    return run(
        z, weight_hh, permutations, norm_weight, norm_bias, state, lengths, heads=heads, norm_epsilon=norm_epsilon
    )


def _check_z(z: Tensor, weight_hh: Tensor, *, rows: int = 1, columns: int = 1) -> tuple[int, int, int]:
    """B, T and H, once `z` is seen to be (B, T, rows·n) and `weight_hh` (rows·n, columns·n), H = columns·n."""
    if z.dim() != 3 or 0 in z.shape:
        raise UsageError(f"z must have three dimensions (B, T, Z), none empty, got shape {tuple(z.shape)}")
    if z.shape[2] % rows:
        raise UsageError(f"the last dimension of z must be a multiple of {rows}, got {z.shape[2]}")
    hidden = columns * z.shape[2] // rows
    _check_shape("weight_hh", weight_hh, (z.shape[2], hidden), z)
    return z.shape[0], z.shape[1], hidden


def _check_norm(weight: Tensor | None, bias: Tensor | None, size: int, z: Tensor, epsilon: float) -> None:
    if (weight is None) != (bias is None):
        raise UsageError("norm_weight and norm_bias must be given together, or both be None")
    _check_shape("norm_weight", weight, (size,), z)
    _check_shape("norm_bias", bias, (size,), z)
    _check_norm_epsilon(epsilon)


def _check_norm_epsilon(epsilon: float) -> None:
    if not (_finite(epsilon) and epsilon > 0):
        raise UsageError(f"norm_epsilon must be finite and above 0, got {epsilon!r}")


def _finite(value: float) -> bool:
    """As math.isfinite, which torch.compile cannot trace where it takes numbers for variables."""
    return -math.inf < value < math.inf


def _check_lengths(lengths: Tensor | None, batch: int, z: Tensor) -> None:
    _check_shape("lengths", lengths, (batch,), z)
    if lengths is not None and (lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool):
        raise UsageError(f"lengths must be integers, got {lengths.dtype}; convert them")


def _check_shape(name: str, value: Tensor | None, expected: tuple[int, ...], like: Tensor | None = None) -> None:
    if value is None:
        return
    if tuple(value.shape) != expected:
        raise UsageError(f"{name} must have shape {expected}, got {tuple(value.shape)}")
    if like is not None and value.device != like.device:
        raise UsageError(f"{name} is on {value.device} but z is on {like.device}; move one of them")
