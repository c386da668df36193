from __future__ import annotations

import threading

import pytest

from tunekit.processes.slow_step import told_if_slow


def test_what_takes_long_is_told_while_it_runs() -> None:
    told = threading.Event()
    with told_if_slow(lambda line: told.set(), "importing", after_s=0.01):
        assert told.wait(10)


def test_what_is_quick_or_fails_is_not_told() -> None:
    lines: list[str] = []
    with told_if_slow(lines.append, "importing", after_s=60):
        pass
    with pytest.raises(ValueError, match="early"), told_if_slow(lines.append, "", after_s=60):
        raise ValueError("early")
    # Neither timer is left.
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert lines == []
