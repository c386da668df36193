"""A line for what takes longer than people like to wait without a word."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_AFTER_S = 3.0


@contextmanager
def told_if_slow(
    say: Callable[[str], None], text: str, *, after_s: float = _AFTER_S
) -> Iterator[None]:
    """Says what is being done if the block takes longer than `after_s` seconds; once, and from
    another thread."""
    timer = threading.Timer(after_s, say, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # No line comes after the block.
