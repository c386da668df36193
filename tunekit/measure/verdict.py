"""What kind of failure it was, by the stage a candidate was in and by how it ended; the same for
candidates here and on remote devices."""

from __future__ import annotations

import signal

from tunekit.catalogue.entries import Failure, FailureKind
from tunekit.processes.exit import Exit
from tunekit.wording import last_lines

BUILDING = "building"
_TOLD_LINES = 6
_OUT_OF_MEMORY_WORDS = ("bad_alloc", "MemoryError", "Cannot allocate memory")
# Of a failure's text, what is sent to the tuner.
_TEXT_LIMIT = 2000


def failure_text(error: BaseException) -> str:
    """What a child tells of its failure: the last lines of the message, without the backtrace that
    TVM's C++ part puts in front of it."""
    text = last_lines(error, _TOLD_LINES)
    return f"MemoryError: {text}" if isinstance(error, MemoryError) else text


def of_exit(ended: Exit | None, stage: str) -> Failure:
    """Of a candidate whose process broke its connection off: how that ended, None if it lives on.

    Args:
        ended: how the process ended.
        stage: what it was doing, as "building" or "running".
    """
    if ended is None:
        return Failure(FailureKind.CRASH, f"broke its connection off while {stage}")
    text = f"{ended} while {stage}"
    if ended.signal == signal.SIGKILL:
        # Nobody but the kernel's memory killer sends that to a child that is in time.
        return Failure(FailureKind.OUT_OF_MEMORY, text)
    if ended.signal == signal.SIGILL:
        text += ": the target has instructions that this CPU does not"
    return Failure(FailureKind.CRASH, text)


def of_text(text: str, stage: str) -> Failure:
    """Of a candidate whose process lived on to say what went wrong in a stage."""
    if any(words in text for words in _OUT_OF_MEMORY_WORDS):
        return Failure(FailureKind.OUT_OF_MEMORY, text[:_TEXT_LIMIT])
    kind = FailureKind.BUILD_ERROR if stage == BUILDING else FailureKind.RUN_ERROR
    return Failure(kind, text[:_TEXT_LIMIT])


def late_build(limit_s: float) -> Failure:
    """Of a candidate whose build took longer than it may."""
    return Failure(FailureKind.BUILD_TIMEOUT, f"not built within {limit_s:g} s")


def late_measurement(limit_s: float, where: str = "") -> Failure:
    """Of a candidate whose measurement took longer than it may, `where` where that is remote."""
    return Failure(FailureKind.RUN_TIMEOUT, f"not measured within {limit_s:g} s{where}")
