"""Looking after a catalogue: what it holds, a copy of it, giving space back."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select, text

from tunekit.catalogue.db import schema
from tunekit.errors import CatalogueError
from tunekit.files import open_to_others

_COUNTED = (
    schema.Session,
    schema.Task,
    schema.Workload,
    schema.Model,
    schema.Target,
    schema.Host,
    schema.Toolchain,
    schema.Reuse,
    schema.Winner,
    schema.Library,
    schema.BenchRun,
)
# Pages copied at a time: writers get their turns between the steps.
_BACKUP_PAGES = 2000


@dataclass(frozen=True)
class Facts:
    """What a catalogue holds.

    Attributes:
        location: path, or URL without its password.
        backend: "sqlite" or "postgresql".
        revision: of its schema.
        size_bytes: on disk, the write-ahead log included.
        free_bytes: of that, space that `vacuum` gives back.
        records: good trials.
        failures: trials without seconds.
        rows: of every other table, by its name.
    """

    location: str
    backend: str
    revision: str
    size_bytes: int
    free_bytes: int
    records: int
    failures: int
    rows: dict[str, int]


def facts(connection: Connection, location: str, revision: str) -> Facts:
    trials = schema.Trial
    records, failures = connection.execute(
        select(func.count(trials.score_s), func.count(trials.failure_kind))
    ).one()
    size, free = _size(connection, location)
    return Facts(
        location=location,
        backend=connection.dialect.name,
        revision=revision,
        size_bytes=size,
        free_bytes=free,
        records=records,
        failures=failures,
        rows={
            table.__tablename__: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in _COUNTED
        },
    )


def _size(connection: Connection, location: str) -> tuple[int, int]:
    if connection.dialect.name == "postgresql":
        size = connection.scalar(text("SELECT pg_database_size(current_database())"))
        return int(size or 0), 0
    pages, page_size, free = (
        int(connection.scalar(text(f"PRAGMA {name}")) or 0)
        for name in ("page_count", "page_size", "freelist_count")
    )
    log = Path(f"{location}-wal")
    return pages * page_size + (log.stat().st_size if log.is_file() else 0), free * page_size


def backup(
    source: str, destination: Path, *, force: bool, say: Callable[[int, int], None] | None = None
) -> int:
    """Copies an SQLite catalogue as it is at one moment, while others write; the copy's bytes.

    The copy appears under its name when it is whole and has been read back, not before.

    Args:
        source: path of the catalogue.
        destination: the copy's; CatalogueError when it is there already and not `force`.
        say: told the pages that are left and the pages in all.
    """
    _refuse_to_replace(destination, source, force=force)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=destination.parent, prefix=".tunekit-backup-")
    except OSError as error:
        raise CatalogueError(
            f"cannot write {destination}: {error.strerror or error}",
            hint="choose a folder that you may write to (-o FILE)",
        ) from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        _copy(source, temporary, say)
        for rest in ("-wal", "-shm"):
            Path(name + rest).unlink(missing_ok=True)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        open_to_others(temporary)
        # A log of the file that is being replaced would be taken for the copy's.
        for rest in ("-wal", "-shm"):
            Path(f"{destination}{rest}").unlink(missing_ok=True)
        temporary.replace(destination)
    except BaseException:
        for rest in ("", "-wal", "-shm", "-journal"):
            Path(name + rest).unlink(missing_ok=True)
        raise
    return destination.stat().st_size


def _refuse_to_replace(destination: Path, source: str, *, force: bool) -> None:
    if destination.is_dir():
        raise CatalogueError(f"{destination} is a folder", hint="give the name of a file in it")
    if not destination.exists():
        return
    if destination.samefile(source):
        raise CatalogueError(f"{destination} is the catalogue itself", hint="name another file")
    if not force:
        raise CatalogueError(
            f"{destination} exists already", hint="name another file, or add --force"
        )


def _copy(source: str, destination: Path, say: Callable[[int, int], None] | None) -> None:
    """Copies the database of one moment and reads the copy back."""
    with (
        closing(sqlite3.connect(source)) as original,
        closing(sqlite3.connect(destination)) as copy,
    ):
        original.execute("PRAGMA busy_timeout = 60000")
        # A reading transaction holds the moment still: without it a busy writer would make the
        # copy start again and again.
        original.execute("BEGIN")
        original.execute("SELECT count(*) FROM sqlite_master").fetchone()
        original.backup(
            copy,
            pages=_BACKUP_PAGES,
            progress=None if say is None else lambda _, left, pages: say(left, pages),
        )
        original.rollback()
        (answer,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise CatalogueError(
                f"the copy is damaged: {answer}",
                hint="`tunekit catalogue check` says whether the catalogue itself is",
            )


def vacuum(engine: Engine) -> None:
    """Writes the database anew without its gaps, and its statistics for the query planner."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        return
    raw = engine.raw_connection()
    try:
        # Past SQLAlchemy, which would begin a transaction: VACUUM cannot run inside one.
        database = raw.driver_connection
        assert isinstance(database, sqlite3.Connection)
        database.execute("VACUUM")
        database.execute("ANALYZE")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        raw.close()
