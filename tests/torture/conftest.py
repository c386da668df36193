"""A folder with a small model, and `tunekit` commands that start at once and can be killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from killable import Place, WarmStarter


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmStarter]:
    starter = WarmStarter(tmp_path_factory.mktemp("torture-cache"))
    yield starter
    starter.close()


@pytest.fixture
def place(starter: WarmStarter, tmp_path: Path) -> Place:
    return Place(tmp_path, starter)
