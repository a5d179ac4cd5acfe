"""Time and memory of a call, on a machine that others may be using."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

Call = Callable[[], object]

_ROUNDS = 7
_ROUND_SECONDS = 0.05
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Timing(NamedTuple):
    """Seconds for a call: median and the 20th and 80th percentile over `samples` rounds."""

    median: float
    p20: float
    p80: float
    samples: int


def side_by_side(calls: Mapping[str, Call], *, slow_seconds: float = 5.0) -> dict[str, Timing]:
    """Time the calls in turns, so that whatever else the machine does falls on all of them.

    Each is called once to warm up, then in rounds of about 50 ms. One that takes longer than `slow_seconds` is timed
    three times only.
    """
    counts, rounds = {}, {}
    for name, call in calls.items():
        call()
        once = _timed(call, 1)
        counts[name] = max(1, round(_ROUND_SECONDS / once))
        rounds[name] = _ROUNDS if once < slow_seconds else 3
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(_ROUNDS):
        for name, call in calls.items():
            if turn < rounds[name]:
                samples[name].append(_timed(call, counts[name]))
    return {name: summary(seconds) for name, seconds in samples.items()}


def peak_memory(call: Call) -> int | None:
    """Bytes by which the process's resident memory rises at most while `call` runs; None where Linux does not tell."""
    if not _CLEAR.exists():
        return None
    # Memory that the allocator kept from earlier calls would be used without showing.
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR.write_text("5")  # resets the high-water mark (proc(5))
    before = _status_bytes("VmRSS")
    call()
    return max(0, _status_bytes("VmHWM") - before)


def summary(seconds: list[float]) -> Timing:
    """Of the seconds that two calls or more took."""
    fifths = statistics.quantiles(seconds, n=5, method="inclusive")
    return Timing(statistics.median(seconds), fifths[0], fifths[-1], len(seconds))


def _timed(call: Call, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count


def _status_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)
