"""Bringing an older catalogue to this version's schema, with a backup that has to exist first."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from tunekit.catalogue.db import connect, migrate, schema
from tunekit.catalogue.process_owner import Owner
from tunekit.errors import CatalogueError

#: Tables of which no upgrade may lose a row; tasks, reuses and workloads can turn out to be one.
_KEPT = (schema.Session, schema.Trial, schema.Winner, schema.Library, schema.BenchRun)
# How long an upgrade on PostgreSQL waits for whoever uses the tables.
_LOCK_TIMEOUT_S = 60


@dataclass(frozen=True)
class UpgradeResult:
    """What an upgrade did; the revisions are equal, and there is no backup, where there was nothing
    to do."""

    location: str
    from_revision: str
    to_revision: str
    backup: Path | None


def upgrade(url_or_path: str | os.PathLike[str], *, backed_up: bool = False) -> UpgradeResult:
    """Brings the catalogue at a path or SQLAlchemy URL to this version's schema.

    An SQLite catalogue is first copied to a file next to it, named after its revision and the time
    in UTC: `catalogue.db.0001-20300131T120000Z.bak`. A PostgreSQL catalogue is for `pg_dump` to
    back up, and `backed_up` says that this was done. Then all migrations run in one transaction:
    whatever goes wrong, the catalogue is as it was. Several upgrades at once are safe; the later
    ones find nothing to do.

    CatalogueError when there is no catalogue, when a newer tunekit wrote it, when a living session
    uses it, when it or the backup cannot be written, and for PostgreSQL without `backed_up`.
    """
    url = connect.parse(os.fspath(url_or_path))
    location = connect.display(url)
    engine = connect.engine(url, create=False)
    try:
        with (
            connect.catalogue_errors(location),
            engine.execution_options(**{connect.WRITES: True}).begin() as connection,
        ):
            # From here on nobody else writes, so the backup holds the very state that is upgraded.
            _wait_for_writers(connection)
            schema_revision = connect.revision(connection, location)
            if schema_revision is None:
                raise connect.empty(location)
            if schema_revision == migrate.CURRENT:
                return UpgradeResult(location, schema_revision, schema_revision, None)
            migrate.require_older(schema_revision, location)
            _require_unused(connection, location)
            backup = None
            if connection.dialect.name == "sqlite":
                backup = _back_up(connection, schema_revision)
            elif not backed_up:
                raise CatalogueError(
                    f"the catalogue {location} is kept by a PostgreSQL server, "
                    "which tunekit does not back up",
                    hint="back it up with `pg_dump -Fc`, then say so with --backed-up",
                )
            before = _counts(connection)
            migrate.upgrade(connection)
            _require_nothing_lost(connection, before)
        return UpgradeResult(location, schema_revision, migrate.CURRENT, backup)
    finally:
        engine.dispose()


def _wait_for_writers(connection: Connection) -> None:
    migrate.lock_creation(connection)
    if connection.dialect.name != "postgresql":
        return
    connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'"))
    if connection.scalar(text("SELECT to_regclass('sessions')")) is not None:
        # Nobody begins a session between the look at the living ones and the migration.
        connection.execute(text("LOCK TABLE sessions IN SHARE ROW EXCLUSIVE MODE"))


def _require_unused(connection: Connection, location: str) -> None:
    sessions = schema.Session
    # Only columns that every revision has.
    query = select(
        sessions.public_id,
        sessions.owner_pid,
        sessions.owner_started,
        sessions.owner_machine,
        sessions.heartbeat_at,
    ).where(sessions.state == "running")
    for row in connection.execute(query):
        if Owner(row.owner_pid, row.owner_started, row.owner_machine).lives(row.heartbeat_at):
            raise CatalogueError(
                f"the catalogue {location} is in use: process {row.owner_pid} runs session "
                f"{row.public_id}",
                hint="wait for it to end, or stop it with Ctrl-C, then upgrade",
            )


def _back_up(connection: Connection, revision: str) -> Path | None:
    """Copies an SQLite catalogue, its write-ahead log included; None for one in memory."""
    file = connection.scalar(text("SELECT file FROM pragma_database_list WHERE name = 'main'"))
    if not file:
        return None
    path = Path(file)
    backup = _free_name(path, revision)
    part = backup.with_name(f"{backup.name}.part")
    try:
        with (
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(part)) as target,
        ):
            source.backup(target)
        shutil.copymode(path, part)
        _settle(part)
        part.rename(backup)
        _settle(backup.parent)
    except (OSError, sqlite3.Error) as error:
        raise CatalogueError(
            f"the catalogue {path} was not upgraded, because its backup {backup} "
            f"cannot be written: {error}",
            hint="make its folder writable and free as much space as the catalogue takes",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return backup


def _free_name(path: Path, revision: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    number = 1
    while True:
        again = f"-{number}" if number > 1 else ""
        backup = path.with_name(f"{path.name}.{revision}-{stamp}{again}.bak")
        if not backup.exists():
            return backup
        number += 1


def _settle(path: Path) -> None:
    """Waits until the disk has it: a backup that a power cut takes away is none."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _counts(connection: Connection) -> dict[str, int]:
    return {
        table.__tablename__: connection.execute(
            select(func.count()).select_from(table.__table__)
        ).scalar_one()
        for table in _KEPT
    }


def _require_nothing_lost(connection: Connection, before: dict[str, int]) -> None:
    after = _counts(connection)
    if after != before:
        raise RuntimeError(f"a migration changed the number of rows from {before} to {after}")
    if connection.dialect.name == "sqlite":
        strays = connection.execute(text("PRAGMA foreign_key_check")).all()
        if strays:
            raise RuntimeError(f"a migration left rows without their parents: {strays[:3]}")
