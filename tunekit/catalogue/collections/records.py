"""Records: the good trials that can be replayed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tunekit.catalogue.conditions import Conditions
from tunekit.catalogue.db.transactions import Transactions
from tunekit.catalogue.entries import NewSession, Record
from tunekit.catalogue.queries import contents, imports, keys, listing, removal
from tunekit.catalogue.queries import records as _records
from tunekit.catalogue.queries.filters import RecordFilter

# Records in one transaction.
_PAGE = 500


class Records:
    """Records: the good trials that can be replayed."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def best(
        self,
        *,
        structural_hashes: Iterable[str] | None,
        target_json: str,
        host_fingerprint: str | None = None,
        toolchain_key: str | None = None,
        measured_with: Mapping[str, Any] | None = None,
        top_k: int | None = 1,
    ) -> list[Record]:
        """The `top_k` fastest good trials of each workload (all with None) on exactly this target,
        best first, workloads in the order asked for (None: all there are). A host, toolchain
        key (`entries.toolchain_key`) or measuring options narrow them further."""
        with self._transactions.reading() as connection:
            return _records.best(
                connection,
                structural_hashes=structural_hashes,
                target_json=target_json,
                host_fingerprint=host_fingerprint,
                toolchain_key=toolchain_key,
                measured_with=measured_with,
                top_k=top_k,
            )

    def best_under(
        self, conditions: Conditions, structural_hashes: Iterable[str], top_k: int
    ) -> list[Record]:
        """The `top_k` fastest good trials of each workload under these conditions, as `best`."""
        with self._transactions.reading() as connection:
            return _records.best_under(connection, conditions, structural_hashes, top_k)

    def to_compile(self, conditions: Conditions, structural_hashes: Iterable[str]) -> list[Record]:
        """The record of each workload to compile with, in the order asked for: the winner of the
        latest final, unless a trial measured since then was faster still. Trials with other
        caches count only for workloads that have none with these."""
        with self._transactions.reading() as connection:
            return _records.to_compile(connection, conditions, structural_hashes)

    def add_winner(self, trial_id: int, samples_s: Sequence[float]) -> None:
        """Notes the trial that won when the best of its workload were measured again in turns,
        with its seconds in that comparison."""
        with self._transactions.writing() as connection:
            _records.add_winner(connection, trial_id, samples_s)

    def winners(self, conditions: Conditions, structural_hashes: Iterable[str]) -> list[Record]:
        """The latest winner of each workload that has one; its `samples_s` are those of the
        comparison, `score_s` the shortest of them, `measured_at` when it was decided."""
        with self._transactions.reading() as connection:
            return _records.winners(connection, conditions, structural_hashes)

    def has_workload(self, structural_hash: str) -> bool:
        """Whether a workload with this hash is there, measured or not."""
        with self._transactions.reading() as connection:
            return keys.has_workload(connection, structural_hash)

    def count(self, conditions: Conditions) -> int:
        """How many good trials there are under these conditions, with the caches in any state."""
        with self._transactions.reading() as connection:
            return _records.count(connection, conditions)

    def listed(
        self,
        record_filter: RecordFilter,
        *,
        order: listing.Order = "newest",
        limit: int | None = 20,
        offset: int = 0,
    ) -> list[listing.ListedRecord]:
        """The records that the filter means, without their traces; a page of them."""
        with self._transactions.reading() as connection:
            return listing.records(
                connection, record_filter, order=order, limit=limit, offset=offset
            )

    def listed_best(
        self, record_filter: RecordFilter, *, limit: int | None = 20, offset: int = 0
    ) -> list[listing.BestRecord]:
        """The fastest of these records for each workload, target and host, slowest first."""
        with self._transactions.reading() as connection:
            return listing.best(connection, record_filter, limit=limit, offset=offset)

    def best_ids(self, record_filter: RecordFilter, top: int) -> list[int]:
        """The `top` fastest records of each workload, target, host and toolchain; what won the
        latest final counts as fastest."""
        with self._transactions.reading() as connection:
            return listing.best_ids(connection, record_filter, top)

    def get(self, trial_id: int) -> listing.ListedRecord:
        """One record. CatalogueError when there is none, or when it is a failure."""
        with self._transactions.reading() as connection:
            return listing.record(connection, trial_id)

    def source(self, trial_id: int) -> tuple[str, str]:
        """A trial's trace and its workload's module, as they were saved."""
        with self._transactions.reading() as connection:
            return contents.trace_json(connection, trial_id)

    def counts(self, record_filter: RecordFilter) -> tuple[int, int]:
        """How many records the filter means, and how many failures it would mean too."""
        with self._transactions.reading() as connection:
            return listing.counts(connection, record_filter)

    def contents(self, record_filter: RecordFilter) -> Iterator[contents.RecordContent]:
        """What is needed to replay each of these records, in order of arrival, page by page."""
        after = 0
        while True:
            with self._transactions.reading() as connection:
                page = contents.contents(connection, record_filter, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].trial_id

    def workload_module(self, workload_id: int) -> str:
        """The saved module of a workload."""
        with self._transactions.reading() as connection:
            return contents.module_json(connection, workload_id)

    def remove(self, record_filter: RecordFilter) -> int:
        """Deletes these records for good; how many there were. CatalogueError when a living
        process runs one of their sessions."""
        with self._transactions.writing() as connection:
            return removal.remove(connection, record_filter)

    def add_import(
        self, session: NewSession, records: Sequence[imports.ImportedRecord]
    ) -> imports.ImportedSession:
        """Enters the records that are not there yet as a finished session, all or none."""
        with self._transactions.writing() as connection:
            return imports.add(connection, session, records)
