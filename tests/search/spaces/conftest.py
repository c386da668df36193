from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Kernels that several test modules share.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """TVM takes a single thread where it finds two cores, and one thread has no races."""
    monkeypatch.setenv("TVM_NUM_THREADS", "2")
