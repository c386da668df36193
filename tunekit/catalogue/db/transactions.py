"""Transactions: all or nothing, in the process that opened the database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine

from tunekit.catalogue.db import connect


class Transactions:
    """Begins the transactions of one opened catalogue.

    Attributes:
        engine: its connections.
        location: the path, or the URL without its password.
    """

    def __init__(self, engine: Engine, location: str) -> None:
        self.engine = engine
        self.location = location
        self._writer = engine.execution_options(**{connect.WRITES: True})
        self._pid = os.getpid()

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that sees one moment and writes nothing."""
        return self._begin(self.engine)

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that may write: committed when the block ends well, else as if it had
        never been."""
        return self._begin(self._writer)

    def reading_for_long(self) -> AbstractContextManager[Connection]:
        """As `reading`, where several statements must see the same moment on PostgreSQL too."""
        if self.engine.dialect.name == "postgresql":
            return self._begin(self.engine.execution_options(isolation_level="REPEATABLE READ"))
        return self.reading()

    @contextmanager
    def _begin(self, engine: Engine) -> Iterator[Connection]:
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"the catalogue was opened by process {self._pid}; a forked child opens its own"
            )
        with connect.catalogue_errors(self.location), engine.begin() as connection:
            yield connection
