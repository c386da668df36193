"""A folder with a small model, and `tunekit` commands that start at once and can be killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from killable import Place, WarmStarter


@pytest.fixture
def place(starter: WarmStarter, tmp_path: Path) -> Place:
    return Place(tmp_path, starter)
