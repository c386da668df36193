"""Ctrl-C that stays Ctrl-C.

A KeyboardInterrupt that is raised while TVM calls back into Python (a cost model, a legalization,
a linker) leaves TVM as a RuntimeError without a word. So whoever raises one notes it here, and
what comes out of TVM afterwards is taken for what it was.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from tunekit.errors import Interrupted

_noted = False


def interrupt(_signal: int = signal.SIGINT, _frame: FrameType | None = None) -> NoReturn:
    """Raises KeyboardInterrupt and notes that it did; fit to be a signal's handler."""
    global _noted
    _noted = True
    raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """An error that `interrupt` became on its way leaves this block as KeyboardInterrupt."""
    global _noted
    _noted = False
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        if not _noted:
            raise
        raise KeyboardInterrupt from error
