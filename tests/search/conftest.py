"""What the tests of the search share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tunekit.target import ResolvedTarget, resolve_target

if TYPE_CHECKING:
    from rpc_farm import Machines

# For the tests' own modules.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def native() -> ResolvedTarget:
    """This machine's CPU."""
    return resolve_target("native")


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """A tracker on the loopback; servers are started as tests want them."""
    # Found through the line above, which imports at the top come before.
    from rpc_farm import Machines

    machines = Machines()
    try:
        machines.wait_until_it_listens()
        yield machines
    finally:
        machines.close()
