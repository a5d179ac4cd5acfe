"""Every test runs with the package's shape annotations checked, on one thread, from the same torch seed."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch

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
