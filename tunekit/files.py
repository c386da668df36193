"""Results in files: refused before the work when they cannot be written, never half there."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tunekit.errors import TunekitError, UsageError

# Of a disk that is full or broken, which is no fault of the program.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@contextmanager
def disk_errors_as(kind: type[TunekitError], what: str, *, hint: str) -> Iterator[None]:
    """Errors of a full or broken disk leave this block as an error of this kind, which says what
    could not be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise kind(f"{what}: {error.strerror}", hint=hint) from error


def check_writable(path: Path, *, flag: str = "-o") -> None:
    """Raises UsageError when a file cannot be written at `path`, by trying; leaves nothing."""
    if path.is_dir():
        raise UsageError(f"{flag} {path} is a folder", hint="give the name of a file in it")
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".tunekit-")
    except OSError as error:
        raise UsageError(
            f"cannot write {flag} {path}: {error.strerror or error}",
            hint="choose a folder that exists and that you may write to",
        ) from error
    os.close(descriptor)
    Path(name).unlink()


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Waits for other processes that have the same file or folder in such a block."""
    # Over a network a lock is given to who can write; a folder can only be read.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        # Not every file system has locks.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def open_to_others(path: Path) -> None:
    """Gives a temporary file or folder, which is its owner's alone, what any new one has."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def read_text(path: Path, what: str = "") -> str:
    """The text of a file that a person named.

    Args:
        path: the file.
        what: it is, for the message, such as "the baseline ".

    Raises:
        UsageError: it cannot be read, or is not text.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"{what}{path} cannot be read: {reason}") from error


def write_atomically(path: Path, text: str) -> None:
    """Writes the whole text or nothing: a reader never sees a part of it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".tunekit-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        open_to_others(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
