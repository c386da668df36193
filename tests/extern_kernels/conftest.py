"""A network with operators in C, made into both libraries once."""

from __future__ import annotations

import pytest
from targets import unoptimized
from tiny_extern import Made, make

from tunekit.machine.target import ResolvedTarget


@pytest.fixture(scope="session")
def target() -> ResolvedTarget:
    return unoptimized()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, target: ResolvedTarget) -> Made:
    return make(tmp_path_factory.mktemp("made"), target)
