"""Work that is paid for once: results kept by the content they were made from.

An entry is a folder of files under `<root>/<kind>/<key>` with the sha256 of every file beside
them. It appears whole or not at all, and is checked each time it is read: an entry that lost a
file, a byte or its list is removed and reported as absent, so that it is made again. When all
together outgrow the limit, those that were not used for longest go.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tunekit.errors import CompileError, UsageError
from tunekit.files import disk_errors_as, write_atomically
from tunekit.version import __version__

KeyPart: TypeAlias = (
    "str | bytes | int | float | bool | Path | Mapping[str, KeyPart] | Sequence[KeyPart] | None"
)

ENVIRONMENT_VARIABLE = "TUNEKIT_CACHE"
LIMIT_VARIABLE = "TUNEKIT_CACHE_GB"
DEFAULT_LIMIT_GB = 20.0
GB = 1e9
# Whoever was given the folder of an entry may still open its files.
_IN_USE_FOR_S = 6 * 3600.0
_CHECKSUMS = "checksums.json"
_UNFINISHED = ".unfinished-"
_ABANDONED_AFTER_S = 24 * 3600.0
_CHUNK_BYTES = 1 << 20


class ContentCache:
    """A folder of results, each under the key of everything that determined it.

    Any number of processes may read and write it at once. `root` defaults to $TUNEKIT_CACHE,
    else to the user's cache folder; it is created by the first `put`. `limit_bytes` defaults to
    $TUNEKIT_CACHE_GB, else to 20 GB. What was used within the last hours stays also beyond it.

    Raises:
        UsageError: $TUNEKIT_CACHE_GB is no size.
    """

    def __init__(self, root: Path | None = None, limit_bytes: float | None = None) -> None:
        self.root = root if root is not None else default_root()
        self.limit_bytes = limit_bytes if limit_bytes is not None else _configured_limit()

    def get(self, kind: str, key: str) -> Path | None:
        """The folder of a complete and undamaged entry, else None (a damaged one is removed)."""
        folder = self._folder(kind, key)
        if not folder.is_dir():
            return None
        if _is_intact(folder):
            with suppress(OSError):
                os.utime(folder / _CHECKSUMS)
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        return None

    @contextmanager
    def put(self, kind: str, key: str) -> Iterator[Path]:
        """A temporary folder to write the entry's files into; leaving the block publishes it.

        When the block raises, nothing is left behind. Of two writers of one key the first to
        finish wins: the contents follow from the key, so either will do. Raises UsageError when
        the cache cannot be written.
        """
        parent = self.root / kind
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(parent)
            temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=parent))
        except OSError as error:
            raise UsageError(
                f"cannot write the cache folder {self.root}: {error.strerror or error}",
                hint=f"set {ENVIRONMENT_VARIABLE} to a folder that can be written",
            ) from error
        try:
            with disk_errors_as(
                UsageError,
                f"cannot write the cache folder {self.root}",
                hint=f"make room, or set {ENVIRONMENT_VARIABLE} to a folder on another disk",
            ):
                yield temporary
                checksums = {name: _sha256(temporary / name) for name in _file_names(temporary)}
                (temporary / _CHECKSUMS).write_text(json.dumps(checksums, indent=1), "utf-8")
                self._publish(temporary, kind, key)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._make_room()

    def made(self, kind: str, key: str, make: Callable[[Path], None], what: str) -> Path:
        """The folder of an entry, which `make` writes where there is none.

        Raises:
            CompileError: it is gone again, `what` it was.
        """
        folder = self.get(kind, key)
        if folder is None:
            with self.put(kind, key) as temporary:
                make(temporary)
            folder = self.get(kind, key)
        if folder is None:
            raise CompileError(
                f"{what} did not survive in the cache",
                hint=f"is the disk full? {ENVIRONMENT_VARIABLE} names another folder",
            )
        return folder

    def adopt(self, kind: str, key: str) -> None:
        """Counts what somebody wrote to `<root>/<kind>/<key>` as an entry, used now: it goes like
        others. For what needs its place while it is written; `get` is not for it."""
        folder = self._folder(kind, key)
        checksums = folder / _CHECKSUMS
        if not checksums.is_file():
            write_atomically(checksums, "{}")
        with suppress(OSError):
            os.utime(checksums)
        self._make_room()

    def used_bytes(self) -> int:
        """What all entries take on the disk."""
        return sum(entry.size for entry in self._entries())

    def _make_room(self) -> None:
        """Remove what was not used for longest, until the rest is within the limit."""
        entries = sorted(self._entries(), key=lambda entry: entry.used_at)
        used = sum(entry.size for entry in entries)
        for entry in entries:
            if used <= self.limit_bytes or entry.used_at > time.time() - _IN_USE_FOR_S:
                return
            # Renamed at first: half an entry is never seen, and `_remove_abandoned` ends it
            # where this process is killed.
            gone = entry.folder.with_name(f"{_UNFINISHED}{entry.folder.name}")
            with suppress(OSError):
                # Another process may have taken it since it was looked at.
                if (entry.folder / _CHECKSUMS).stat().st_mtime == entry.used_at:
                    entry.folder.rename(gone)
                    used -= entry.size
            shutil.rmtree(gone, ignore_errors=True)

    def _entries(self) -> Iterator[_Entry]:
        for checksums in self.root.glob(f"*/[!.]*/{_CHECKSUMS}"):
            folder = checksums.parent
            # Another process may be removing it.
            with suppress(OSError):
                size = sum((folder / name).stat().st_size for name in _file_names(folder))
                yield _Entry(folder, size, used_at=checksums.stat().st_mtime)

    def _publish(self, temporary: Path, kind: str, key: str) -> None:
        folder = self._folder(kind, key)
        while not _rename(temporary, folder):
            # Taken. A damaged entry is removed by `get`, and the next turn succeeds.
            if self.get(kind, key) is not None:
                return

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key


@dataclass(frozen=True)
class _Entry:
    folder: Path
    size: int
    # Seconds since the epoch.
    used_at: float


def default_root() -> Path:
    """$TUNEKIT_CACHE, else the user's cache folder for tunekit (absolute)."""
    configured = os.environ.get(ENVIRONMENT_VARIABLE)
    if configured:
        return Path(configured).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("tunekit", appauthor=False))


def _configured_limit() -> float:
    """Bytes."""
    configured = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not configured:
        return DEFAULT_LIMIT_GB * GB
    try:
        gigabytes = float(configured)
    except ValueError:
        gigabytes = -1.0
    if not gigabytes >= 0:
        raise UsageError(
            f"{LIMIT_VARIABLE} is {configured!r}, which is no size",
            hint=f"a number of GB, as {LIMIT_VARIABLE}=50 ({DEFAULT_LIMIT_GB:g} if it is not set; "
            "inf for no limit)",
        )
    return gigabytes * GB


def content_key(*parts: KeyPart) -> str:
    """sha256 (hex) of the parts, their order and tunekit's version.

    Mappings are taken in the order of their keys, sequences in their own.
    """
    text = json.dumps(
        [__version__, *(_canonical(part) for part in parts)], sort_keys=True, allow_nan=True
    )
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file's contents."""
    return _sha256(path)


@functools.cache
def package_digest(*names: str) -> str:
    """Identifies code of this package: what other code made is not read back.

    Args:
        names: folders and files of it, as "models" and "library/huge_page_pass.py".
    """
    package = Path(__file__).parent
    files = sorted(
        file
        for name in names
        for file in ([package / name] if name.endswith(".py") else (package / name).rglob("*.py"))
    )
    return content_key({str(file.relative_to(package)): file_digest(file) for file in files})


def _canonical(part: KeyPart) -> object:
    if part is None or isinstance(part, str | bool | int | float):
        return part
    if isinstance(part, bytes):
        return {"bytes": hashlib.sha256(part).hexdigest()}
    if isinstance(part, Path):
        return {"path": str(part)}
    if isinstance(part, Mapping):
        return {"mapping": {str(name): _canonical(value) for name, value in part.items()}}
    if isinstance(part, Sequence):
        return [_canonical(value) for value in part]
    raise TypeError(f"not a part of a content key: {type(part).__name__}")


def _rename(source: Path, target: Path) -> bool:
    """Whether the folder was renamed; False when the target is already there."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


def _is_intact(folder: Path) -> bool:
    try:
        checksums = json.loads((folder / _CHECKSUMS).read_text("utf-8"))
        if not isinstance(checksums, dict):
            return False
        return set(checksums) == set(_file_names(folder)) and all(
            _sha256(folder / name) == digest for name, digest in checksums.items()
        )
    except (OSError, ValueError):
        return False


def _file_names(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != _CHECKSUMS
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _remove_abandoned(parent: Path) -> None:
    """Remove what writers killed long ago left unfinished."""
    oldest = time.time() - _ABANDONED_AFTER_S
    for path in parent.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)
