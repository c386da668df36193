"""Ctrl-C that stays Ctrl-C: once asks to stop, twice stops at once.

A KeyboardInterrupt that is raised while TVM calls back into Python (a cost model, a legalization,
a linker) leaves TVM as a RuntimeError without a word. So whoever raises one notes it here, and
what comes out of TVM afterwards is taken for what it was.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
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


class Stop:
    """Notes Ctrl-C while it is listened to; the tuner asks it whether to go on.

    The second one raises KeyboardInterrupt, but never between a measurement and its way into the
    catalogue: there it waits until that is done.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._recording = False
        self._at_once = False
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes Ctrl-C for itself, which only the main thread can: in another one it goes to
        whoever is there."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """What is done here is done to its end."""
        self._recording = True
        try:
            yield
        finally:
            self._recording = False
        if self._at_once:
            raise KeyboardInterrupt

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            self._say("stopping after this batch; once more stops at once")
        elif self._recording:
            self._at_once = True
        else:
            interrupt()
