"""Copies, checks, merges."""

from __future__ import annotations

from pathlib import Path

from tunekit.catalogue.db import connect, integrity, maintenance, migrate
from tunekit.catalogue.db.transactions import Transactions
from tunekit.catalogue.queries import merge as _merge
from tunekit.catalogue.queries import removal
from tunekit.errors import CatalogueError


class Maintenance:
    """Copies, checks, merges."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def facts(self) -> maintenance.Facts:
        """Size, revision and counts."""
        with self._transactions.reading() as connection:
            return maintenance.facts(connection, self._transactions.location, migrate.CURRENT)

    def backup(self, destination: Path, *, force: bool = False) -> int:
        """Copies the catalogue as it is at one moment, while others write; the copy's bytes.
        CatalogueError where the file is there already and not `force`, and on PostgreSQL."""
        location = self._transactions.location
        if self._transactions.engine.dialect.name != "sqlite":
            raise CatalogueError(
                f"{location} is kept in a database that has its own tools for copies",
                hint="use pg_dump; or take everything into an SQLite file: "
                "`tunekit catalogue merge URL --catalogue FILE`",
            )
        with self._transactions.reading(), connect.catalogue_errors(location):
            return maintenance.backup(location, destination, force=force)

    def vacuum(self) -> dict[str, int]:
        """Removes what nothing refers to (how many rows, by table) and gives free space back."""
        with self._transactions.writing() as connection:
            removed = removal.remove_unused(connection)
        with connect.catalogue_errors(self._transactions.location):
            maintenance.vacuum(self._transactions.engine)
        return removed

    def check(self) -> list[str]:
        """Reads everything and names each problem in a sentence; empty when all is sound."""
        with self._transactions.reading() as connection:
            return list(integrity.problems(connection))

    def merge(self, other: Maintenance) -> _merge.Merged:
        """Copies all that the catalogue of `other` has and this one does not. Whole sessions at a
        time: interrupted, another merge does the rest. CatalogueError when a living process runs
        a session here that the other one has more trials of."""
        theirs = other._transactions
        if self._is(theirs):
            raise CatalogueError(
                f"{theirs.location} is this catalogue itself", hint="name another one"
            )
        return _merge.merge(theirs.reading_for_long, self._transactions.writing)

    def _is(self, theirs: Transactions) -> bool:
        """Whether it is the same database."""
        ours = self._transactions
        if ours.engine.url == theirs.engine.url:
            return True
        here, there = Path(ours.location), Path(theirs.location)
        return here.is_file() and there.is_file() and here.samefile(there)
