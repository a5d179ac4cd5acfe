"""A GPU, how a call is timed on it, and what it can do at most."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch

from fastweights.bench.measure import Call, Timing, summary
from fastweights.errors import UsageError
from fastweights.training.config import Device

_SECONDS = 0.2
_LEAST, _MOST = 5, 30
_WARM_UPS = 3
# A call that takes this long is warm after one, and three tell its time.
_SLOW_SECONDS, _LEAST_SLOW = 0.1, 3


class Measured(NamedTuple):
    """Time of a call, and the bytes by which it raises the allocated memory at most."""

    timing: Timing
    memory: int


class Machine(NamedTuple):
    """Where calls are timed, how, and its memory in bytes."""

    device: Device
    name: str
    memory: int
    measure: Callable[[Call], Measured]

    @property
    def slug(self) -> str:
        """Its name as that of a folder."""
        return re.sub("[^a-z0-9]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True)
class Ceilings:
    """What this GPU was measured to do: float32 products without TF32, and copying, read and written bytes together."""

    float32_gflops: float
    copy_gigabytes: float


def gpu() -> Machine:
    """The current GPU. Raises UsageError if there is none."""
    if not torch.cuda.is_available():
        raise UsageError('device "cuda" is not there: this torch sees no GPU; use device "cpu"')
    properties = torch.cuda.get_device_properties()
    # Zeroing it leaves nothing of what a call reads in the L2 cache.
    flushed = torch.empty(4 * properties.L2_cache_size, dtype=torch.uint8, device="cuda")

    def sample(call: Call) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        flushed.zero_()
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def measure(call: Call) -> Measured:
        warm_up(lambda: sample(call))
        # Not before: what a library allocates once, at its first call, is no part of this one.
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        timing = summary(samples(lambda: sample(call)))
        return Measured(timing, torch.cuda.max_memory_allocated() - before)

    return Machine("cuda", properties.name, properties.total_memory, measure)


def warm_up(sample: Callable[[], float]) -> None:
    """Make a few calls, a slow one once; `sample` makes a call and returns its time."""
    for _ in range(_WARM_UPS):
        if sample() > _SLOW_SECONDS:
            return


def samples(sample: Callable[[], float]) -> list[float]:
    """Seconds of warm calls: 5 to 30 within about 0.2 s, 3 of slow ones."""
    seconds = [sample()]
    least = _LEAST_SLOW if seconds[0] > _SLOW_SECONDS else _LEAST
    while len(seconds) < least or (len(seconds) < _MOST and sum(seconds) < _SECONDS):
        seconds.append(sample())
    return seconds


def ceilings(machine: Machine, *, size: int = 8192, copied: int = 2**30) -> Ceilings:
    """Measured with a product of two square matrices of this size, and by copying this many bytes."""
    left, right = (torch.randn(size, size, device=machine.device) for _ in range(2))
    product = torch.empty_like(left)
    multiplied = machine.measure(lambda: torch.mm(left, right, out=product)).timing.median
    source = torch.zeros(copied, dtype=torch.uint8, device=machine.device)
    target = torch.empty_like(source)
    moved = machine.measure(lambda: target.copy_(source)).timing.median
    return Ceilings(2 * size**3 / multiplied / 1e9, 2 * copied / moved / 1e9)


@contextmanager
def rounding(*, tf32: bool) -> Iterator[None]:
    """Whether cuDNN may round the factors of float32 products to TF32, by default it may; elsewhere torch does not."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
