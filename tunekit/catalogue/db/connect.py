"""Opening the database: SQLite or PostgreSQL, by path or SQLAlchemy URL.

Durability on SQLite: write-ahead log with synchronous=FULL, so a committed trial survives SIGKILL
*and* a power cut. NORMAL would already survive SIGKILL; FULL costs one fsync per commit, which is
little beside the seconds it took to measure what is being committed.

A file that is not a catalogue is looked at read-only before anything is switched on, and refused
as it was. Errors of the database that a person can do something about become `CatalogueError` in
one place, `catalogue_errors`; all others are bugs and keep their type.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from tunekit.catalogue.db import migrate
from tunekit.catalogue.db.schema import VERSION_TABLE
from tunekit.errors import CatalogueError, CatalogueFailed

_BUSY_TIMEOUT_S = 60.0
_BUSY_TIMEOUT = f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1000:.0f}"
_SQLITE_HEADER = b"SQLite format 3\0"
# Of its own: a seeded search must not draw other numbers because somebody else wrote meanwhile.
_naps = random.Random()
#: Execution option of connections whose transactions will write.
WRITES = "tunekit_writes"


def parse(url_or_path: str) -> URL:
    """The SQLAlchemy URL of a path or URL; CatalogueError when it can be neither."""
    if not url_or_path:
        raise CatalogueError(
            "the catalogue's name is empty",
            hint="give a file, such as tuning_logs/catalogue.db, or an SQLAlchemy URL",
        )
    if "://" not in url_or_path:
        return URL.create("sqlite", database=str(Path(url_or_path).expanduser()))
    try:
        url = sqlalchemy.make_url(url_or_path)
        backend = url.get_backend_name()
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise CatalogueError(
            f"the catalogue's URL is not understood: {error}",
            hint="sqlite:///relative/path.db, sqlite:////absolute/path.db or "
            "postgresql+psycopg://user@host/database",
        ) from error
    if backend not in ("sqlite", "postgresql"):
        raise CatalogueError(
            f"a catalogue cannot be kept in {backend}", hint="use SQLite or PostgreSQL"
        )
    return url


def engine(url: URL, *, create: bool) -> Engine:
    """An engine on what can be a catalogue, of whatever revision; the folder of a file that is to
    be made is made if `create` says so. CatalogueError for other files and missing drivers."""
    location = display(url)
    try:
        made = sqlalchemy.create_engine(url)
    except ImportError as error:
        raise CatalogueError(
            f"{location} needs a database driver that is not installed: {error}",
            hint="pip install 'psycopg[binary]' and use a postgresql+psycopg:// URL",
        ) from error
    if url.get_backend_name() == "sqlite":
        _prepare_sqlite(url, location, create=create)
        event.listen(made, "connect", _on_sqlite_connect)
        event.listen(made, "begin", _on_sqlite_begin)
    return made


def connect(url: URL, *, create: bool) -> Engine:
    """An engine on a catalogue of this version's schema; made first when there is none and
    `create` says so. CatalogueError in all other cases."""
    location = display(url)
    made = engine(url, create=create)
    try:
        with catalogue_errors(location):
            with made.begin() as connection:
                schema_revision = revision(connection, location)
            if schema_revision is None:
                if not create:
                    raise empty(location)
                with made.execution_options(**{WRITES: True}).begin() as connection:
                    migrate.lock_creation(connection)
                    # Another process may have been first.
                    schema_revision = revision(connection, location)
                    if schema_revision is None:
                        schema_revision = migrate.create(connection)
            migrate.require_current(schema_revision, location)
    except BaseException:
        made.dispose()
        raise
    return made


def empty(location: str) -> CatalogueError:
    """The error about a database without tables."""
    return CatalogueError(
        f"{location} is an empty database, not a catalogue",
        hint="`tunekit tune` makes a catalogue where there is none",
    )


def display(url: URL) -> str:
    """The catalogue's name for messages: the path of a file, else the URL without password."""
    if url.get_backend_name() == "sqlite" and url.database:
        return str(url.database)
    return url.render_as_string(hide_password=True)


def from_anywhere(url_or_path: str) -> str:
    """The same catalogue by a name that does not depend on the working directory."""
    url = parse(url_or_path)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return url_or_path
    if url.database.startswith("file:"):
        return url_or_path
    return str(Path(url.database).absolute())


@contextmanager
def catalogue_errors(location: str) -> Iterator[None]:
    """Turns what a person can act upon (full disk, read-only file, lost server) into
    CatalogueError. Violated constraints and wrong SQL are bugs and pass through."""
    try:
        yield
    except DatabaseError as error:
        translated = _translate(error.orig, location)
        if translated is None:
            raise
        raise translated from error
    except sqlite3.DatabaseError as error:
        translated = _translate(error, location)
        if translated is None:
            raise
        raise translated from error


# What SQLite says, what that means, what to do. By text: Python 3.10 has no error codes.
_SQLITE_REASONS = (
    ("database or disk is full", "the disk is full",
     "free some space and run the command again; everything committed before is kept"),
    ("disk i/o error", "writing failed (is the disk full, or a file size limit reached?)",
     "free some space and run the command again; everything committed before is kept"),
    ("readonly database", "it is read-only",
     "make the file and its folder writable, or choose another catalogue"),
    ("unable to open database file", "the file cannot be opened or made",
     "make its folder writable, or choose another catalogue"),
    ("database is locked", f"another process has held it for more than {_BUSY_TIMEOUT_S:.0f} s",
     "find that process (`fuser FILE`), then run the command again; "
     "everything committed before is kept"),
    ("file is not a database", "it is not an SQLite database", "choose another file"),
    ("malformed", "the file is damaged",
     "save a copy, then rescue what can be read with `sqlite3 FILE .recover`"),
)  # fmt: skip
# Nothing is wrong with the catalogue that was asked for, or with how it was.
_SQLITE_FAILURES = ("database or disk is full", "disk i/o error", "database is locked")


def _translate(error: object, location: str) -> CatalogueError | None:
    said = str(error)
    if isinstance(error, sqlite3.Error):
        for text, meaning, remedy in _SQLITE_REASONS:
            if text in said.lower():
                kind = CatalogueFailed if text in _SQLITE_FAILURES else CatalogueError
                return kind(
                    f"the catalogue {location} cannot be used: {meaning} ({said})",
                    hint=remedy,
                )
        return None
    # PEP 249 names: a driver's OperationalError is about the server, not about our SQL.
    if any(base.__name__ == "OperationalError" for base in type(error).__mro__):
        return CatalogueError(
            f"the catalogue {location} cannot be used: {said.strip()}",
            hint="check that the server runs, and the user, password and database in the URL",
        )
    return None


def _prepare_sqlite(url: URL, location: str, *, create: bool) -> None:
    """Refuses what is no catalogue before anything is written, makes the folder of a new one."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        return
    path = Path(url.database)
    choose = "choose another file for the catalogue"
    try:
        if path.is_dir():
            raise CatalogueError(f"{location} is a folder, not a catalogue", hint=choose)
        if not path.exists():
            if not create:
                raise CatalogueError(
                    f"there is no catalogue at {location}", hint="`tunekit tune` makes one"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            return
        with path.open("rb") as file:
            header = file.read(len(_SQLITE_HEADER))
    except OSError as error:
        raise CatalogueError(
            f"the catalogue {location} cannot be opened or made: {error.strerror}",
            hint="make its folder writable, or choose another catalogue",
        ) from error
    if not header:
        if not create:
            raise empty(location)
        return
    if header != _SQLITE_HEADER:
        raise CatalogueError(f"{location} is not a catalogue (not an SQLite database)", hint=choose)
    with catalogue_errors(location):
        tables = _tables(path)
    _require_catalogue(tables, location)


def _tables(path: Path) -> set[str]:
    """The names of the tables in a file, which nothing is written into if it needs no repair."""
    try:
        return _tables_by(path, "ro")
    except sqlite3.OperationalError as error:
        # A writer that was killed left its journal, and SQLite rolls back before it reads.
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        return _tables_by(path, "rw")


def _tables_by(path: Path, mode: str) -> set[str]:
    address = f"file:{quote(str(path))}?mode={mode}"
    with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_TIMEOUT_S)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def _require_catalogue(tables: set[str], location: str) -> None:
    if tables and VERSION_TABLE not in tables:
        some = ", ".join(sorted(tables)[:3])
        raise CatalogueError(
            f"{location} is a database but not a catalogue (it holds {some})",
            hint="choose another file or database for the catalogue",
        )


def revision(connection: Connection, location: str) -> str | None:
    """The schema's revision; None in an empty database. CatalogueError for other databases."""
    tables = set(sqlalchemy.inspect(connection).get_table_names())
    _require_catalogue(tables, location)
    if not tables:
        return None
    schema_revision = migrate.revision(connection)
    if schema_revision is None:
        raise CatalogueError(
            f"{location} does not say which revision its schema has",
            hint="choose another catalogue; no version of tunekit leaves one like that",
        )
    return schema_revision


def _on_sqlite_connect(connection: sqlite3.Connection, _record: object) -> None:
    # Transactions are begun by _on_sqlite_begin; the sqlite3 module must not begin its own.
    connection.isolation_level = None
    execute = connection.execute
    execute(_BUSY_TIMEOUT)
    _switch_to_wal(connection)
    execute("PRAGMA synchronous = FULL")
    execute("PRAGMA foreign_keys = ON")
    execute("PRAGMA cache_size = -65536")  # KiB; the indexes of a million trials


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # Two processes that open a new file at once: the switch needs the file for itself and does not
    # always wait for the busy timeout.
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _on_sqlite_begin(connection: Connection) -> None:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    if connection.get_execution_options().get(WRITES):
        _begin_writing(raw)
    else:
        raw.execute("BEGIN")


def _begin_writing(connection: sqlite3.Connection) -> None:
    # A transaction that reads first and writes later can find that it may not (SQLITE_BUSY without
    # any waiting): whoever will write says so at the start and waits for its turn here. SQLite's
    # own wait sleeps up to 100 ms between its attempts, and beside a busy writer, who leaves gaps
    # of a millisecond, that was seen to take 5 s; short naps at random find a gap soon.
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_naps.uniform(0.0005, 0.005))
    finally:
        connection.execute(_BUSY_TIMEOUT)
