"""Work on a GPU recorded once as a CUDA graph, then launched as a whole: small kernels cost their launch above all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

_WARM_UPS = 3


class NotRecorded(RuntimeWarning):
    """Work could not be recorded, and is launched kernel by kernel."""


def recorded(work: Callable[[], None], changed: Sequence[Tensor]) -> Callable[[], None]:
    """What does the same as `work`, in one launch.

    Where that cannot be had it is `work` itself, and a warning says so.

    Args:
        work: reads and writes CUDA tensors that stay where they are, and waits for none of them.
        changed: all tensors whose values outlive a call and that it changes. Recording calls `work` a few times, to
            have kernels compiled and libraries started; afterwards these tensors are as they were.
    """
    before = [tensor.detach().clone() for tensor in changed]
    stream = _stream()
    stream.wait_stream(torch.cuda.current_stream())
    launch = work
    # torch.cuda.graph leaves its stream the current one when recording fails; this context does not.
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            work()
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                work()
            launch = graph.replay
        except RuntimeError as error:
            reason = str(error.__context__ or error).splitlines()[0]
            warnings.warn(f"no CUDA graph, every update is slower: {reason}", NotRecorded, stacklevel=2)
    torch.cuda.current_stream().wait_stream(stream)
    for tensor, value in zip(changed, before, strict=True):
        tensor.detach().copy_(value)
    return launch


@cache
def _stream() -> torch.cuda.Stream:
    """One for all recordings: the matrix library keeps memory for every stream that it has worked on."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]
