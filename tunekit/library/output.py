"""The folder of a library: where it is, whether it can be written, and its files all or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunekit.errors import UsageError
from tunekit.library.manifest import MANIFEST_FILE
from tunekit.recipe import Recipe


def library_folder(recipe: Recipe) -> Path:
    """Where a recipe's library goes."""
    return Path(recipe.output) / recipe.name


def require_writable(folder: Path) -> None:
    """Refuses an output folder that cannot be written, before anything is spent on its content.

    Raises:
        UsageError: it is a file, or cannot be created or written.
    """
    # Tried in what exists of it: a command that is refused later leaves no empty folder.
    existing = next(
        parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists()
    )
    try:
        with tempfile.NamedTemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write to the output folder {folder}: {error.strerror or error}",
            hint="choose another with --artifacts (or -o)",
        ) from error


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files, also those in folders, replace those in `folder` if the block
    ends well."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        yield temporary
        _move(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(source: Path, folder: Path) -> None:
    # The manifest last: whoever finds it finds the library it describes.
    for file in sorted(source.iterdir(), key=lambda file: file.name == MANIFEST_FILE):
        if file.is_dir():
            (folder / file.name).mkdir(exist_ok=True)
            _move(file, folder / file.name)
        else:
            file.replace(folder / file.name)
