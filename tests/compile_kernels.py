"""Compile for an H100, which need not be there, the kernels that the recurrence asks for at some sizes.

Prints one line of JSON for each: its name and the bytes of shared memory that a program of it takes.
"""

import json
from typing import Any

import torch
from triton import runtime
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from fastweights.kernels import dispatch
from fastweights.kernels.fast_weights import triton
from recurrences import call_fast_weights, draw_fast_weights, to

TARGET = GPUTarget("cuda", 90, 32)
TYPES = {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.int64: "i64", torch.int32: "i32"}


def type_of(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"*{TYPES[value.dtype]}"
    return "fp32" if isinstance(value, float) else "i32"


def launch(kernel: runtime.JITFunction[Any], programs: int, warps: int, on: torch.Tensor, arguments: Any) -> None:
    """In place of the launch: compile, and leave the results as they are."""
    constants = {parameter.name for parameter in kernel.params if parameter.is_constexpr}
    source = ASTSource(
        kernel,
        {name: "constexpr" if name in constants else type_of(value) for name, value in arguments.items()},
        {(kernel.arg_names.index(name),): arguments[name] for name in constants},
    )
    compiled = compile(source, target=TARGET, options={"num_warps": warps})
    name = f"{kernel.__name__} R={arguments['R']}" + " population" * arguments["PER_MEMBER"]
    print(json.dumps({"name": name, "shared": compiled.metadata.shared}), flush=True)


dispatch._TRITON_MISSING = None
triton.interpreted = lambda: True
triton._launch = launch
for hidden, steps, given in ((50, 11, False), (128, 20, True), (512, 70, True)):
    arguments = to(draw_fast_weights(2, steps, hidden, norm=not given, initial=given), torch.float32)
    options = {"lengths": torch.tensor([steps, 1]), "inner_steps": 2, "activation": "tanh"} if given else {}
    leaves = {name: value.requires_grad_() for name, value in arguments.items()}
    results = call_fast_weights(leaves, backend="triton", **options)
    torch.autograd.backward(results, [torch.zeros_like(result) for result in results])


def member(arguments: dict[str, torch.Tensor], decay: torch.Tensor) -> torch.Tensor:
    return call_fast_weights(arguments, decay=decay, backend="triton")[0]


drawn = to(draw_fast_weights(2, 11, 100, norm=True, initial=False), torch.float32)
stacked = {name: torch.stack([value] * 2).requires_grad_() for name, value in drawn.items()}
torch.func.vmap(member)(stacked, torch.tensor([0.9, 0.95])).sum().backward()
