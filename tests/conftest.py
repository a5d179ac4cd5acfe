"""Tests run with the package's shape annotations checked unless they say otherwise, on one thread, from one seed."""

import os
from collections.abc import Iterator

import jaxtyping
import pytest
import torch

# Without a GPU, Triton interprets its kernels; it looks when a kernel is defined.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# Before any test module imports the package: the hook rewrites modules as they are loaded.
jaxtyping.install_import_hook("fastweights", "annotations.check")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(20161020)


@pytest.fixture
def float64() -> Iterator[None]:
    """Tensors and parameters made in the test are float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def as_installed() -> Iterator[None]:
    """Without the annotation checks, which users do not have and which would speak before the package's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Memory that torch hands out uninitialised holds NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
