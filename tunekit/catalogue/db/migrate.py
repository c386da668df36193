"""Which revision a catalogue's schema has, and how it comes to this version's.

A new database is made from the metadata and stamped, which needs no Alembic and takes
milliseconds; a test holds the migrations to the same result.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    select,
    text,
)

from tunekit.catalogue.db.schema import VERSION_TABLE, Base
from tunekit.errors import CatalogueError

if TYPE_CHECKING:
    from alembic.config import Config

#: The revision of `schema`; the newest file in migrations/versions.
CURRENT = "0002"

# Alembic's own table as Alembic makes it, under our name.
_version = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)


def revision(connection: Connection) -> str | None:
    """The revision that is stamped in the database."""
    return connection.execute(select(_version.c.version_num)).scalar_one_or_none()


def create(connection: Connection) -> str:
    """Makes all tables in an empty database and stamps them; the new revision."""
    Base.metadata.create_all(connection, checkfirst=False)
    _version.create(connection, checkfirst=False)
    connection.execute(insert(_version).values(version_num=CURRENT))
    return CURRENT


def lock_creation(connection: Connection) -> None:
    """Lets one creator at a time in. On SQLite the writing transaction already does."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('tunekit catalogue'))"))


def upgrade(connection: Connection, to: str = "head") -> None:
    """Runs the migrations from the stamped revision (or from nothing) within the connection's
    transaction."""
    from alembic import command

    command.upgrade(_config(connection), to)


def require_current(schema_revision: str | None, location: str) -> None:
    """CatalogueError unless `schema_revision` is this version's, saying which side is behind."""
    if schema_revision == CURRENT:
        return
    require_older(schema_revision, location)
    raise CatalogueError(
        f"the catalogue {location} has the schema of an older tunekit "
        f"(revision {schema_revision}, this one uses {CURRENT})",
        hint="run `tunekit catalogue upgrade` on it; that keeps a backup",
    )


def require_older(schema_revision: str | None, location: str) -> None:
    """CatalogueError unless the migrations know `schema_revision`."""
    if schema_revision not in _known_revisions():
        raise CatalogueError(
            f"the catalogue {location} was written by a newer tunekit "
            f"(schema revision {schema_revision}, this one knows up to {CURRENT})",
            hint="upgrade tunekit, or choose another catalogue",
        )


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config(None))
    return {script.revision for script in scripts.walk_revisions()}


def _config(connection: Connection | None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    config.attributes["connection"] = connection
    return config
