"""The folder of a library: where it is, whether it can be written, and its files all or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tunekit.errors import TunekitError, UsageError
from tunekit.files import alone_with, disk_errors_as
from tunekit.library.manifest import MANIFEST_FILE, RECIPE_FILE, load_manifest
from tunekit.recipe import Recipe

# What `explain` found out of the library; another library has another one.
EXPLANATION_FILE = "explanation.json"


def library_folder(recipe: Recipe) -> Path:
    """Where a recipe's library goes."""
    return recipe.output.expanduser() / recipe.name


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
    """A temporary folder whose files, also those in folders, replace the library in `folder` if the
    block ends well; what is no part of a library stays.

    Raises:
        TunekitError: the disk is full; what was there is as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        with disk_errors_as(
            TunekitError,
            f"the library {folder} could not be written",
            hint="make room, or choose another folder with --artifacts (or -o)",
        ):
            yield temporary
            with alone_with(folder):  # Another process may write a library here.
                old = _files(folder)
                # Until the new one is there, nobody finds a manifest with another's library.
                (folder / MANIFEST_FILE).unlink(missing_ok=True)
                # Also where the old manifest cannot be read.
                for file in {*old, Path(MANIFEST_FILE)}:
                    if file.name == MANIFEST_FILE:
                        (folder / file).with_name(EXPLANATION_FILE).unlink(missing_ok=True)
                _move(temporary, folder)
                _remove(folder, old - _files(folder))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(folder: Path) -> set[Path]:
    """Of the library in a folder, by its manifest; relative to the folder."""
    try:
        manifest = load_manifest(folder)
    except UsageError:
        return set()  # There is none, or it is from another version.
    names = {manifest.library, MANIFEST_FILE, RECIPE_FILE}
    if manifest.standalone is not None:
        names.add(manifest.standalone.library)
    own = {Path(name) for name in names}
    return own.union(
        *(
            {Path(size.folder) / file for file in _files(folder / size.folder)}
            for size in manifest.sizes
        )
    )


def _remove(folder: Path, files: set[Path]) -> None:
    for file in files:
        (folder / file).unlink(missing_ok=True)
        if file.parent != Path():
            with suppress(OSError):
                (folder / file.parent).rmdir()


def _move(source: Path, folder: Path) -> None:
    # The manifest last: whoever finds it finds the library it describes.
    for file in sorted(source.iterdir(), key=lambda file: file.name == MANIFEST_FILE):
        if file.is_dir():
            (folder / file.name).mkdir(exist_ok=True)
            _move(file, folder / file.name)
        else:
            file.replace(folder / file.name)
