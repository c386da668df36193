"""Where a bundle goes: refused before the work where it cannot go there, and whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunekit.bundle.manifest import bundle_in, changes_in
from tunekit.errors import TunekitError, UsageError
from tunekit.files import disk_errors_as, open_to_others

_SHOWN = 3
_ELSEWHERE = "choose another folder with -o"
# Of a folder that cannot be moved away, which is no fault of the program: something is mounted on
# it, it is from the image of a container, or it is somebody else's.
_UNMOVABLE = {errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM}


def require_place(folder: Path, *, force: bool = False) -> None:
    """Refuses a folder that no bundle can be written to, before anything is spent on one.

    A bundle that is there is replaced, unless its files were changed or others put among them.

    Args:
        folder: of the bundle.
        force: replace a bundle with such files, too.

    Raises:
        UsageError: it is a file or a mount point, holds something else, or cannot be written.
    """
    try:
        _require_place(_resolved(folder), force=force)
    except OSError as error:
        # Also of paths that cannot be looked at: a name that is too long, a folder of somebody's.
        raise UsageError(
            f"cannot write to the folder {folder}: {error.strerror or error}", hint=_ELSEWHERE
        ) from error


def _resolved(folder: Path) -> Path:
    try:
        return folder.resolve()
    except RuntimeError as error:
        raise UsageError(
            f"cannot write to the folder {folder}: its links lead in a circle", hint=_ELSEWHERE
        ) from error


def _require_place(folder: Path, *, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint=_ELSEWHERE)
    if os.path.ismount(folder):
        raise UsageError(
            f"{folder} is a mount point, which no other folder can take the place of",
            hint=f"name a folder inside of it: -o {folder / 'bundle'}",
        )
    if folder.is_dir() and any(folder.iterdir()):
        manifest = bundle_in(folder)
        if manifest is None:
            raise UsageError(
                f"{folder} is there, and is no bundle", hint=f"{_ELSEWHERE}, or remove it"
            )
        changes = [] if force else changes_in(folder, manifest)
        if changes:
            shown = ", ".join(changes[:_SHOWN]) + (", ..." if changes[_SHOWN:] else "")
            raise UsageError(
                f"{folder} holds files that were changed or added: {shown}",
                hint=f"{_ELSEWHERE}, or lose them with --force",
            )
    tempfile.TemporaryFile(dir=_existing_parent(folder)).close()


@contextmanager
def whole_folder(folder: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes `folder` if the block ends well, and else disappears.

    Raises:
        UsageError: as for `require_place`.
        TunekitError: the disk is full, or the folder that is there cannot be replaced.
    """
    require_place(folder, force=force)
    folder = folder.resolve()
    with (
        disk_errors_as(
            TunekitError,
            f"the bundle {folder} could not be written",
            hint=f"make room, or {_ELSEWHERE}; nothing was left behind",
        ),
        _scratch(folder) as temporary,
    ):
        yield temporary
        open_to_others(temporary)
        try:
            _replace(folder, temporary)
        except OSError as error:
            if error.errno not in _UNMOVABLE:
                raise
            raise TunekitError(
                f"{folder} cannot be replaced: {error.strerror}",
                hint=f"name a folder inside of it, remove it, or {_ELSEWHERE}; nothing was changed",
            ) from error


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder on the same disk, which disappears with what is still in it."""
    name = tempfile.mkdtemp(prefix=f".{folder.name}-", dir=_existing_parent(folder))
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)


def _replace(folder: Path, new: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        new.rename(folder)
        return
    # What is there goes where the new one was made, and away with that.
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside:
        old = Path(aside) / "old"
        folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            old.rename(folder)
            raise


def _existing_parent(folder: Path) -> Path:
    return next(parent for parent in folder.parents if parent.exists())
