"""Builds the compiled core: one shared library with a plain C interface, no part of Python or torch in it.

Its vector code is compiled once for every SIMD width and the width is chosen when it runs. Without a compiler the
installation goes on, and `fastweights info` says what is missing.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

SOURCE = Path(__file__).parent / "src" / "fastweights" / "kernels" / "native"
LIBRARY = "libfastweights.so"
FLAGS = [
    *("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti", "-fno-math-errno"),
    *("-Wall", "-Wextra", "-Wno-psabi"),
]
WIDTHS = {"baseline": (16, [])}
if platform.machine().lower() in ("x86_64", "amd64"):
    WIDTHS["avx2"] = (32, ["-mavx2", "-mfma"])
    WIDTHS["avx512"] = (64, ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"])


def find_compiler():
    """The C++ compiler that CXX or this Python names, or one that usually exists; None if there is none."""
    configured = (sysconfig.get_config_var("CXX") or "").split()
    names = [os.environ.get("CXX"), *configured[:1], "c++", "g++", "clang++"]
    return next((found for found in map(shutil.which, filter(None, names)) if found), None)


def build_library(target):
    """Compile the core into the file `target`; returns whether that was possible."""
    compiler = find_compiler()
    if compiler is None:
        print("fastweights: no C++ compiler found; installing without the compiled core", file=sys.stderr)
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            plain = ["-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden"]
            parts = {name: (f"{name}.cpp", plain) for name in ("threads", "cpu_features")}
            for name, (width, flags) in WIDTHS.items():
                defines = [f"-DFW_VARIANT={name}", f"-DFW_BYTES={width}"]
                parts[f"core_{name}"] = ("core.cpp", [*FLAGS, *flags, *defines])
            objects = [f"{folder}/{name}.o" for name in parts]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda part, made: compile_file(compiler, *part, made), parts.values(), objects))
            subprocess.run([compiler, "-shared", "-o", str(target), *objects, "-lpthread"], check=True)
    except subprocess.CalledProcessError as error:
        print(f"fastweights: compiling failed ({error}); installing without the compiled core", file=sys.stderr)
        return False
    return True


def compile_file(compiler, source, flags, target):
    subprocess.run([compiler, *flags, "-c", str(SOURCE / source), "-o", target], check=True)


class BuildWithCore(build_py):
    def run(self):
        super().run()
        build_library(Path(self.build_lib) / "fastweights" / "kernels" / "native" / LIBRARY)


class EditableWithCore(editable_wheel):
    def run(self):
        build_library(SOURCE / LIBRARY)
        super().run()


class PlatformWheel(bdist_wheel):
    """The library depends on the platform but on no version of Python."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class BinaryDistribution(Distribution):
    def has_ext_modules(self):
        return True


setup(
    cmdclass={"build_py": BuildWithCore, "editable_wheel": EditableWithCore, "bdist_wheel": PlatformWheel},
    distclass=BinaryDistribution,
)
