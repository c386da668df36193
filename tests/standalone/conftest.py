"""Libraries of their own that the tests here share: each is built once."""

from __future__ import annotations

from pathlib import Path

import pytest
from targets import unoptimized
from tiny_standalone import TinyLibrary, expecting, run_tiny, tiny_part
from toy_library import build_toy

from tunekit.machine.target import ResolvedTarget
from tunekit.standalone.build import Toolchain, build
from tunekit.standalone.self_test import checks_of


@pytest.fixture(scope="session")
def target() -> ResolvedTarget:
    return unoptimized()


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a library whose kernels are written in C; no test may change it."""
    folder = tmp_path_factory.mktemp("toy")
    build_toy(folder, "gcc")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, target: ResolvedTarget) -> TinyLibrary:
    """A graph as both libraries; the self test of its own expects the virtual machine's bits."""
    folder = tmp_path_factory.mktemp("tiny")
    part = tiny_part(folder, target)
    part = expecting(part, checks_of(run_tiny(folder / "machine.so"), 0.0))
    built = build("tiny", [part], folder, Toolchain("gcc"))
    return TinyLibrary(folder / "machine.so", built.shared, part)
