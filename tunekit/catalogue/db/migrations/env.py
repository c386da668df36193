"""Alembic's environment: migrates within the transaction of the connection it is handed."""

from __future__ import annotations

from alembic import context

from tunekit.catalogue.db.schema import VERSION_TABLE, Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite alters a table by copying it
    compare_type=True,
)
context.run_migrations()
