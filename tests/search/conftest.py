"""What the tests of the search share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tunekit.target import ResolvedTarget, resolve_target

# For the tests' own modules.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def native() -> ResolvedTarget:
    """This machine's CPU."""
    return resolve_target("native")
