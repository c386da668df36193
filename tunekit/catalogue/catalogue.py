"""The catalogue as the rest of tunekit sees it: entries in, entries out, one transaction a call."""

from __future__ import annotations

import os
from types import TracebackType

from sqlalchemy import Engine

from tunekit.catalogue.collections.benchmarks import Benchmarks
from tunekit.catalogue.collections.libraries import Libraries
from tunekit.catalogue.collections.maintenance import Maintenance
from tunekit.catalogue.collections.records import Records
from tunekit.catalogue.collections.sessions import Sessions
from tunekit.catalogue.collections.trials import Trials
from tunekit.catalogue.db import connect
from tunekit.catalogue.db.transactions import Transactions


class Catalogue:
    """The ledger of everything measured.

    Each call of a collection's method is one transaction: when it returns, what it wrote survives
    SIGKILL and (on SQLite) a power cut; when it raises, nothing of it was written. Several
    processes may write at once; they wait for each other. One thread at a time uses an instance. A
    forked child must not use its parent's (RuntimeError): it opens its own, or leaves by
    `os._exit`.

    All calls raise `CatalogueError` when the database cannot do its part (disk full, read-only,
    server gone) and for a session id that does not exist.

    Attributes:
        sessions: who tunes what, and how far they are.
        trials: the tasks of sessions and everything measured of them, good and failed.
        records: the good trials as what they are for: to be replayed, listed, exchanged.
        libraries: compiled models.
        benchmarks: comparisons of runtimes.
        maintenance: copies, checks, merges.
        location: the path, or the URL without its password.
    """

    def __init__(self, engine: Engine, location: str) -> None:
        transactions = Transactions(engine, location)
        self._engine = engine
        self.location = location
        self.sessions = Sessions(transactions)
        self.trials = Trials(transactions)
        self.records = Records(transactions)
        self.libraries = Libraries(transactions)
        self.benchmarks = Benchmarks(transactions)
        self.maintenance = Maintenance(transactions)

    @classmethod
    def open(cls, url_or_path: str | os.PathLike[str], *, create: bool = True) -> Catalogue:
        """Opens the catalogue at a path or SQLAlchemy URL (SQLite, PostgreSQL); makes it, with its
        folder, if there is none and `create` is true.

        CatalogueError when it is something else (which stays untouched), was written by a newer
        tunekit, cannot be reached or cannot be made.
        """
        url = connect.parse(os.fspath(url_or_path))
        return cls(connect.connect(url, create=create), connect.display(url))

    def close(self) -> None:
        """Gives the connections back; the instance is of no use afterwards."""
        self._engine.dispose()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
