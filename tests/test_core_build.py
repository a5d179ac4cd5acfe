"""The compiled core is there where it can be, and reads and writes only what is its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastweights
from fastweights.kernels import missing_backends

NATIVE = Path(fastweights.__file__).parent / "kernels" / "native"
COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

# Forward and backward of every recurrence, on two threads, over sizes around whole blocks and chunks.
EXERCISE = """
import itertools, pathlib, sys
import torch
from fastweights.cells import load
from fastweights.kernels.native import library

library._PATH = pathlib.Path(sys.argv[1])
for cached in (library._load, library._function, library._widest):
    cached.cache_clear()
assert library.variants() == ("baseline",)
torch.set_num_threads(2)
sizes = [(1, 1, 1), (5, 3, 7), (4, 11, 33), (3, 3, 257), (2, 311, 3), (1, 131, 33)]
for name, (batch, steps, hidden), norm, dtype in itertools.product(
    ("fast_weights", "irnn", "lstm", "associative_lstm"), sizes, (False, True), (torch.float32, torch.float64)
):
    hidden *= 2 if name == "associative_lstm" else 1
    layer = load(name)(3, hidden, layer_norm=norm, backend="cpu", dtype=dtype)
    zeros = (torch.zeros(batch, *size, dtype=dtype, requires_grad=True) for size in layer.state_sizes)
    state = layer.state_type(*zeros)
    lengths = torch.randint(1, steps + 1, (batch,))
    for given in (None, state):
        z = layer.project(torch.randn(batch, steps, 3, dtype=dtype))
        out, final = layer.scan(z, given, lengths)
        (out.sum() + sum(part.sum() for part in final)).backward()
        with torch.no_grad():
            layer.scan(z, given)
print("exercised")
"""


def test_the_core_is_built_wherever_there_is_a_compiler():
    if COMPILER is None and os.environ.get("FASTWEIGHTS_CORE") != "required":
        assert "install a C++17 compiler" in missing_backends().get("cpu", "install a C++17 compiler")
    else:
        assert missing_backends() == {}


def file_of_compiler(name):
    """The path of a library that the compiler brings; the name itself if it has none."""
    found = subprocess.run([COMPILER, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sanitizers are preloaded as on Linux")
def test_address_and_undefined_behaviour_sanitizers_find_nothing(tmp_path):
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    target = tmp_path / "libfastweights.so"
    flags = ["-std=c++17", "-O1", "-g1", "-fPIC", "-shared", "-Wno-psabi", "-DFW_VARIANT=baseline", "-DFW_BYTES=16"]
    sources = [str(NATIVE / name) for name in ("core.cpp", "threads.cpp", "cpu_features.cpp")]
    built = subprocess.run([COMPILER, *flags, *SANITIZE, *sources, "-o", str(target), "-lpthread"], capture_output=True)
    # The second because torch throws exceptions, which the first looks for as the process begins.
    preloaded = [file_of_compiler(name) for name in ("libasan.so", "libstdc++.so.6")]
    if built.returncode or not all(map(os.path.isabs, preloaded)):
        assert os.environ.get("FASTWEIGHTS_CORE") != "required", built.stderr.decode()
        pytest.skip(f"{COMPILER} has no sanitizers to preload")
    environment = os.environ | {"LD_PRELOAD": " ".join(preloaded), "ASAN_OPTIONS": "detect_leaks=0"}
    run = subprocess.run(
        [sys.executable, "-c", EXERCISE, str(target)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout == "exercised\n"


# A hundred threads in an address space with room for the stacks of a few.
CROWDED = """
import pathlib, resource, torch
from fastweights.kernels import irnn

z, W = torch.randn(4000, 5, 10), 0.1 * torch.eye(10)
torch.set_num_threads(1)
alone = irnn(z, W, backend="cpu")[0]
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 200 * 2**20,) * 2)
torch.set_num_threads(100)
crowded = irnn(z, W, backend="cpu")[0]
torch.set_num_threads(1)  # torch's own parallel loops would end the process
assert torch.equal(crowded, alone)
"""


@pytest.mark.skipif("cpu" in missing_backends(), reason="needs the compiled core")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the size of the process as on Linux")
def test_where_the_system_gives_few_threads_the_result_is_the_same():
    run = subprocess.run([sys.executable, "-c", CROWDED], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
