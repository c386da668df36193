"""Benchmarks that were run."""

from __future__ import annotations

from tunekit.catalogue.db.transactions import Transactions
from tunekit.catalogue.entries import BenchRun, BenchRunInfo, NewBenchRun
from tunekit.catalogue.queries import benchmarks as _benchmarks

# Within the class `list` is its method.
_BenchRunList = list[BenchRunInfo]


class Benchmarks:
    """Benchmarks that were run."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, new: NewBenchRun) -> int:
        """Keeps a benchmark with all its samples; its id."""
        with self._transactions.writing() as connection:
            return _benchmarks.add(connection, new)

    def get(self, run_id: int) -> BenchRun:
        """A benchmark with all its samples. CatalogueError when there is none with this id."""
        with self._transactions.reading() as connection:
            return _benchmarks.get(connection, run_id)

    def list(
        self,
        limit: int | None = 20,
        *,
        name: str | None = None,
        recipe_digest: str | None = None,
        host_fingerprint: str | None = None,
        session_id: str | None = None,
    ) -> _BenchRunList:
        """The benchmarks, newest first; only those of which all that is given is true.

        `session_id` is of the session whose library took part.
        """
        with self._transactions.reading() as connection:
            return _benchmarks.listed(
                connection,
                limit=limit,
                name=name,
                recipe_digest=recipe_digest,
                host_fingerprint=host_fingerprint,
                session_id=session_id,
            )
