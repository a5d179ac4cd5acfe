"""What a result was measured with: versions, commit, kind of machine. No names and no paths of the machine."""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from fastweights.kernels.native import library


def describe() -> dict[str, str | int]:
    """The environment of this process, as it is kept beside every result."""
    return {
        "fastweights": version("fastweights"),
        "commit": commit(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "simd": library.variant() if library.missing() is None else "no compiled core",
        **(_gpu() if torch.cuda.is_available() else {}),
    }


def _gpu() -> dict[str, str | int]:
    """The current GPU and what drives it."""
    found: dict[str, str | int] = {
        "gpu": torch.cuda.get_device_name(),
        "driver": _driver(),
        "cuda": torch.version.cuda or "none",  # none under ROCm, which calls itself cuda
        "cudnn": torch.backends.cudnn.version() or "none",  # type: ignore[no-untyped-call]
    }
    with suppress(PackageNotFoundError):
        found["triton"] = version("triton")
    return found


def _driver() -> str:
    """The version of the GPU's driver, where its tool tells it."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        told = []
    return told[0].strip() if told else "unknown"


@functools.cache
def commit() -> str:
    """The commit of the source tree when this process first asked, '+' if it was changed since; 'unknown' outside a
    checkout.
    """
    here = Path(__file__).parent
    try:
        revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", "."],
            cwd=here.parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return revision.stdout.strip() + ("+" if changes.stdout.strip() else "")


def _processor() -> str:
    """The processor's model, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run with `count` torch threads, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def of_training(count: int) -> Iterator[None]:
    """Run with `count` torch threads, one alone taking denormals for zero; torch's random state is left as it was, too.

    A processor is told thread by thread. Of several, some of torch's would flush and others not, as they came about.
    """
    flushed = denormals_flushed() if count == 1 else nullcontext()
    with threads(count), flushed, torch.random.fork_rng(devices=[]):
        yield


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Take numbers too small for float32's full precision (below 1.2e-38) for zero in this thread, until the end.

    Under weight decay the weights of a unit that is never active shrink for ever, and Adam's means of their gradients
    do in any case; once they are that small a processor takes many times as long over them.
    """
    before = (torch.tensor(2e-38, dtype=torch.float32, device="cpu") / 4).item() == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
