from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """TVM takes a single thread where it finds two cores, and one thread has no races."""
    monkeypatch.setenv("TVM_NUM_THREADS", "2")
