"""Libraries that were compiled."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import insert, select

from tunekit.catalogue.db import schema
from tunekit.catalogue.db.transactions import Transactions
from tunekit.catalogue.entries import NewLibrary
from tunekit.catalogue.queries import sessions as _sessions


class Libraries:
    """Libraries that were compiled."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, new: NewLibrary) -> int:
        """Notes that a library was written; its id."""
        with self._transactions.writing() as connection:
            internal = (
                None
                if new.session_id is None
                else _sessions.internal_id(connection, new.session_id)
            )
            return connection.execute(
                insert(schema.Library)
                .values(
                    session_id=internal,
                    name=new.name,
                    path=new.path,
                    sha256=new.sha256,
                    recipe_digest=new.recipe_digest,
                    manifest=dict(new.manifest),
                    created_at=datetime.now(UTC),
                )
                .returning(schema.Library.id)
            ).scalar_one()

    def find(self, path: str, sha256: str) -> int | None:
        """The id of the library that was written to this path last, with this content."""
        with self._transactions.reading() as connection:
            return connection.execute(
                select(schema.Library.id)
                .where(schema.Library.path == path, schema.Library.sha256 == sha256)
                .order_by(schema.Library.id.desc())
                .limit(1)
            ).scalar_one_or_none()
