"""Loading the compiled core, and choosing among its SIMD widths.

The core is a shared library with a plain C interface, built when the package is installed; nothing is compiled here.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fastweights.errors import UsageError, unknown_name

_PATH = Path(__file__).with_name("libfastweights.so")
_VARIANTS = ("baseline", "avx2", "avx512")  # in the order of the bits of fw_supported
_TYPES = {torch.float32: "f32", torch.float64: "f64"}
_INTERFACE = 1  # FW_INTERFACE of abi.h
_chosen: list[str] = []


class FastWeightsCall(ctypes.Structure):
    """`FastWeightsCall` of abi.h."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in "members batch steps hidden threads inner_steps chunk spacing tanh stores".split()
    ] + [
        (name, ctypes.c_void_p)
        for name in (
            "settings weight_hh packed norm_weight norm_bias z h0 A0 lengths out h_final A_final saved "
            "checkpoints scratch d_out d_h_final d_A_final d_z d_h0 d_A0 d_weight_hh d_norm_weight "
            "d_norm_bias d_norm d_boundary"
        ).split()
    ]


class LSTMCall(ctypes.Structure):
    """`LSTMCall` of abi.h."""

    _fields_ = (
        [(name, ctypes.c_int64) for name in "members batch steps hidden threads".split()]
        + [("norm_epsilon", ctypes.c_double)]
        + [
            (name, ctypes.c_void_p)
            for name in (
                "weight_hh packed hh_weight hh_bias cell_weight cell_bias z h0 c0 lengths out h_final "
                "c_final saved scratch d_out d_h_final d_c_final d_z d_h0 d_c0 d_weight_hh d_hh_weight "
                "d_hh_bias d_cell_weight d_cell_bias d_norm d_cell_norm d_recurrent"
            ).split()
        ]
    )


class AssociativeLSTMCall(ctypes.Structure):
    """`AssociativeLSTMCall` of abi.h."""

    _fields_ = (
        [(name, ctypes.c_int64) for name in "members batch steps hidden heads copies threads".split()]
        + [("norm_epsilon", ctypes.c_double)]
        + [
            (name, ctypes.c_void_p)
            for name in (
                "weight_hh packed norm_weight norm_bias z permutations h0 c0 lengths out h_final c_final "
                "saved scratch d_out d_h_final d_c_final d_z d_h0 d_c0 d_weight_hh d_norm_weight d_norm_bias d_norm "
                "d_recurrent"
            ).split()
        ]
    )


@functools.cache
def missing() -> str | None:
    """Why there is no compiled core, and what to do; None if there is one."""
    if not _PATH.exists():
        return "the compiled core was not built: install a C++17 compiler (g++ or clang) and reinstall fastweights"
    try:
        library = ctypes.CDLL(str(_PATH))
    except OSError as error:
        return f"the compiled core does not load ({error}): reinstall fastweights on this machine"
    sizes = [ctypes.sizeof(call) for call in (FastWeightsCall, LSTMCall, AssociativeLSTMCall)]
    try:
        library.fw_interface.restype = ctypes.c_int64
        same = library.fw_interface() == _INTERFACE << 48 | sizes[0] << 32 | sizes[1] << 16 | sizes[2]
    except AttributeError:
        same = False
    return None if same else "the compiled core is of another version: reinstall fastweights"


@functools.cache
def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_PATH))
    library.fw_supported.restype = ctypes.c_int64
    return library


def variants() -> tuple[str, ...]:
    """SIMD widths that the core was built with and this processor runs, narrowest first."""
    bits = _load().fw_supported()
    return tuple(
        name for bit, name in enumerate(_VARIANTS) if bits >> bit & 1 and hasattr(_load(), f"fw_lanes_f32_{name}")
    )


def variant() -> str:
    """The width in use: the widest, unless `forced` says otherwise."""
    return _chosen[-1] if _chosen else _widest()


@functools.cache
def _widest() -> str:
    return variants()[-1]


@contextlib.contextmanager
def forced(name: str) -> Iterator[None]:
    """Run with the SIMD width `name`, one of `variants()`, in this context."""
    if name not in variants():
        raise unknown_name("SIMD width", name, variants())
    _chosen.append(name)
    try:
        yield
    finally:
        _chosen.pop()


def function(name: str, dtype: torch.dtype) -> Any:
    """The core's function for numbers of `dtype`, at the width in use; it returns int64 or nothing."""
    return _function(name, _TYPES[dtype], variant())


@functools.cache
def _function(name: str, kind: str, width: str) -> Any:
    found = getattr(_load(), f"{name}_{kind}_{width}")
    found.restype = ctypes.c_int64
    return found


def lanes(dtype: torch.dtype) -> int:
    """Sequences that one vector of `dtype` holds, at the width in use."""
    return _lanes(_TYPES[dtype], variant())


@functools.cache
def _lanes(kind: str, width: str) -> int:
    return int(_function("fw_lanes", kind, width)())


def fma_peak_gflops(threads: int) -> float:
    """Measured peak of float32 multiply-adds, GFLOP/s: independent chains in registers, on `threads` threads."""
    if missing():
        raise UsageError(f"cannot measure the multiply-add peak: {missing()}")
    import concurrent.futures

    run = function("fw_multiply_add", torch.float32)
    rounds = ctypes.c_int64(2_000_000)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        best = 0.0
        for _ in range(5):
            results = [ctypes.c_float(0.0) for _ in range(threads)]
            started = time.perf_counter()
            flops = sum(pool.map(lambda result: run(rounds, ctypes.byref(result)), results))
            best = max(best, flops / (time.perf_counter() - started) / 1e9)
    return best
