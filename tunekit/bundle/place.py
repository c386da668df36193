"""Where a bundle goes: refused before the work where it cannot go there, and whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunekit.bundle.manifest import bundle_in, changes_in
from tunekit.errors import TunekitError, UsageError
from tunekit.files import disk_errors_as

_SHOWN = 3
_ELSEWHERE = "choose another folder with -o"
# Not a mistake in a path: what was begun well cannot be written to its end.


def require_place(folder: Path, *, force: bool = False) -> None:
    """Refuses a folder that no bundle can be written to, before anything is spent on one.

    A bundle that is there is replaced, unless its files were changed or others put among them.

    Args:
        folder: of the bundle.
        force: replace a bundle with such files, too.

    Raises:
        UsageError: it is a file, holds something else, or cannot be written.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint=_ELSEWHERE)
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
    try:
        tempfile.TemporaryFile(dir=_existing_parent(folder)).close()
    except OSError as error:
        raise UsageError(
            f"cannot write to the folder {folder}: {error.strerror or error}", hint=_ELSEWHERE
        ) from error


@contextmanager
def whole_folder(folder: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes `folder` if the block ends well, and else disappears.

    Raises:
        UsageError: as for `require_place`.
        TunekitError: the disk is full.
    """
    require_place(folder, force=force)
    folder = folder.resolve()
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=_existing_parent(folder)))
    try:
        with disk_errors_as(
            TunekitError,
            f"the bundle {folder} could not be written",
            hint=f"make room, or {_ELSEWHERE}; nothing was left behind",
        ):
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            # mkdtemp makes folders for their owner alone.
            temporary.chmod(0o777 & ~umask)
            _replace(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
