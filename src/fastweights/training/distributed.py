"""One run on several processes, which `torchrun` has started: each computes its share of every mini-batch.

The gradients of these small models fit into one message, so they are summed by a single all-reduce after the backward
pass; torch's DistributedDataParallel, which overlaps many messages with it, would only wrap the model. Every process
then does the same update. The first one alone writes the run's directory.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from fastweights.errors import RunError, UsageError
from fastweights.training.config import RunConfig


@dataclass(frozen=True)
class Group:
    """The processes that train a run together; alone, everything is left as it is.

    Args:
        rank: this process, 0 ≤ rank < size.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of `rows`: sizes differ by one at most."""
        return rows[self.rank :: self.size]

    def add(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, the same bits on all of them."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        totals = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, totals, strict=True):
            tensor.copy_(total.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is raised on some process."""
        if self.size == 1:
            return flag
        flags: list[bool] = [False] * self.size
        dist.all_gather_object(flags, flag)
        return any(flags)

    def first_says(self, word: Any) -> Any:
        """What the first process has as `word`."""
        if self.size == 1:
            return word
        words = [word]
        dist.broadcast_object_list(words)
        return words[0]


ALONE = Group()


@contextmanager
def launched_group(config: RunConfig) -> Iterator[tuple[Group, Callable[[], bool]]]:
    """The group of a process that torchrun has started, and whether it has been asked to stop.

    It talks over gloo on CPUs and over NCCL on GPUs, one GPU a process.

    Raises:
        UsageError: there are more processes than sequences in a mini-batch.
        RunError: another process of the group is gone.
    """
    size = int(os.environ["WORLD_SIZE"])
    if size > config.batch_size:
        raise UsageError(f"batch_size must be at least the number of processes, {size}, got {config.batch_size}")
    stopped = False

    def stop(signum: int, frame: Any) -> None:
        nonlocal stopped
        stopped = True

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    if config.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if config.device == "cuda" else "gloo")
    try:
        yield Group(dist.get_rank(), size), lambda: stopped
        dist.barrier()  # one that leaves while others still talk to it may abort
    except dist.DistError as error:
        raise _left(error) from error
    except RuntimeError as error:
        # Gloo has no error class of its own.
        if "gloo" not in str(error):
            raise
        raise _left(error) from error
    finally:
        dist.destroy_process_group()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _left(error: RuntimeError) -> RunError:
    first = str(error).splitlines()[0]
    return RunError(
        f"another process of the group is gone ({first}); the same command goes on from the last checkpoint"
    )
