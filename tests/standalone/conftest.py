"""Libraries of their own that the tests here share: each is built once."""

from __future__ import annotations

from pathlib import Path

import pytest
from targets import unoptimized
from toy_library import build_toy

from tunekit.machine.target import ResolvedTarget


@pytest.fixture(scope="session")
def target() -> ResolvedTarget:
    return unoptimized()


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a library whose kernels are written in C; no test may change it."""
    folder = tmp_path_factory.mktemp("toy")
    build_toy(folder, "gcc")
    return folder
