"""A pass through a fused engine as a function that autograd, torch.compile and vmap understand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import define, impl, infer_schema, register_autograd, register_fake, register_vmap

from fastweights.errors import UsageError

_PLAIN_TENSORS = (Tensor, torch.nn.Parameter)


class Operator:
    """A differentiable function of tensors and plain settings, computed by the compiled core or on a GPU.

    Every tensor may have leading dimensions of members, each with weights of its own: none for a layer, one for every
    `torch.func.vmap` over stacked layers.

    Args:
        name: of its operators in torch, `fastweights::<name>_forward` and `fastweights::<name>_backward`.
        forward, backward: run the engine, with annotations that `torch.library.infer_schema` reads.
        empty_results, empty_gradients: take the same arguments and give results of the right shapes, for tracing.
        remember: from the inputs and results of `forward`, the tensors and the settings that the backward pass needs.
        gradients: from a function that runs `backward`, what was remembered and the upstream gradients, one for each
            result, the gradient of every input.
        devices: the kinds of device that it runs on.
    """

    def __init__(
        self,
        name: str,
        *,
        forward: Callable[..., Any],
        empty_results: Callable[..., Any],
        backward: Callable[..., Any],
        empty_gradients: Callable[..., Any],
        remember: Callable[[tuple[Any, ...], tuple[Tensor, ...]], tuple[list[Tensor | None], Any]],
        gradients: Callable[..., tuple[Any, ...]],
        devices: tuple[str, ...] = ("cpu",),
    ) -> None:
        self.forward, self.backward = forward, backward
        self.remember, self.gradients = remember, gradients
        self._traced_forward = _registered(f"{name}_forward", forward, empty_results, devices)
        self._traced_backward = _registered(f"{name}_backward", backward, empty_gradients, devices)
        register_autograd(self._traced_forward, self._traced_gradients, setup_context=self._setup_context)
        register_autograd(self._traced_backward, _no_second_derivative)

    def __call__(self, *inputs: Any) -> Any:
        if torch.compiler.is_compiling() or _stand_for_others(inputs):
            return self._traced_forward(*inputs)
        apply: Callable[..., Any] = _Direct.apply
        return apply(self, *inputs)

    def backward_under(self, upstream: Sequence[Any]) -> Any:
        """The backward pass by itself, or the operator where vmap or a second derivative has to see one."""
        return self._traced_backward if torch.is_grad_enabled() or _stand_for_others(upstream) else self.backward

    def _setup_context(self, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        tensors, ctx.settings = self.remember(inputs, output)
        ctx.save_for_backward(*tensors)

    def _traced_gradients(self, ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
        return self.gradients(self._traced_backward, ctx.saved_tensors, ctx.settings, upstream)


class _Direct(torch.autograd.Function):
    """The operator without torch's dispatcher, a way through which takes as long as a small layer's recurrence."""

    @staticmethod
    def forward(ctx: Any, operator: Operator, *inputs: Any) -> Any:
        results = operator.forward(*inputs)
        ctx.set_materialize_grads(False)
        tensors, ctx.settings = operator.remember(inputs, results)
        ctx.save_for_backward(*tensors)
        ctx.operator = operator
        return results

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
        operator = ctx.operator
        return None, *operator.gradients(operator.backward_under(upstream), ctx.saved_tensors, ctx.settings, upstream)


def _registered(name: str, run: Callable[..., Any], fake: Callable[..., Any], devices: tuple[str, ...]) -> Any:
    """The operator `fastweights::<name>` of torch.

    Its parts by themselves, and not `torch.library.custom_op`, which imports torch's compiler at the first call.
    """
    full = f"fastweights::{name}"
    define(full, infer_schema(run, mutates_args=()), tags=torch.Tag.pt2_compliant_tag)
    impl(full, devices, run)
    register_fake(full, fake)
    operator = getattr(torch.ops.fastweights, name).default

    def over_members(info: Any, in_dims: Sequence[Any], *arguments: Any) -> tuple[Any, Any]:
        results = operator(*_stacked(info.batch_size, in_dims, arguments))
        return results, (0,) * len(results)

    register_vmap(operator, over_members)
    return operator


def _stacked(size: int, in_dims: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """Arguments with the mapped dimension in front, or that many copies of those without it."""
    stacked = []
    for dim, argument in zip(in_dims, arguments, strict=True):
        if isinstance(argument, Tensor):
            argument = argument.expand(size, *argument.shape) if dim is None else argument.movedim(dim, 0)
        stacked.append(argument)
    return stacked


def _stand_for_others(arguments: Sequence[Any]) -> bool:
    """Whether tracing or vmap has to see the call: tensors without memory of their own, such as vmap's and a
    FakeTensorMode's, or a mode under which torch records what is called. Torch has no public test of either.
    """
    if torch._C._len_torch_dispatch_stack() > 0:
        return True
    tensors = [each for each in arguments if isinstance(each, Tensor)]
    return not all(type(each) in _PLAIN_TENSORS and torch._C._has_storage(each) for each in tensors)


def _no_second_derivative(ctx: Any, *gradients: Any) -> None:
    raise UsageError('backends "cpu" and "triton" have no second derivatives; use backend="reference" for them')
