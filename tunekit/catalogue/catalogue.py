"""The catalogue as the rest of tunekit sees it: entries in, entries out, one transaction a call."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from sqlalchemy import Connection, Engine, insert

from tunekit.catalogue.db import connect, integrity, maintenance, migrate, schema
from tunekit.catalogue.entries import (
    NewBenchRun,
    NewLibrary,
    NewSession,
    NewTask,
    NewTrial,
    Record,
    SessionInfo,
    SessionState,
    TaskSummary,
    Trial,
)
from tunekit.catalogue.queries import failures as _failures
from tunekit.catalogue.queries import imports, keys, listing, prior_trials, removal, session_report
from tunekit.catalogue.queries import merge as _merge
from tunekit.catalogue.queries import records as _records
from tunekit.catalogue.queries import sessions as _sessions
from tunekit.catalogue.queries import trials as _trials
from tunekit.catalogue.queries.failures import FailureGroup
from tunekit.catalogue.queries.session_report import SessionReport
from tunekit.errors import CatalogueError

_PAGE = 500


class Catalogue:
    """The ledger of everything measured.

    Each call is one transaction: when it returns, what it wrote survives SIGKILL and (on SQLite) a
    power cut; when it raises, nothing of it was written. Several processes may write at once; they
    wait for each other. One thread at a time uses an instance. A forked child must not use its
    parent's (RuntimeError): it opens its own, or leaves by `os._exit`.

    All calls raise `CatalogueError` when the database cannot do its part (disk full, read-only,
    server gone) and for a session id that does not exist.
    """

    def __init__(self, engine: Engine, location: str) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{connect.WRITES: True})
        self._pid = os.getpid()
        #: The path, or the URL without its password.
        self.location = location

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

    # Sessions

    def begin_session(self, new: NewSession) -> SessionInfo:
        """A new session, run by this process."""
        with self._transaction(self._writer) as connection:
            return _sessions.begin(connection, new)

    def unfinished_session(
        self, recipe_digest: str, target_json: str, host_fingerprint: str
    ) -> SessionInfo | None:
        """The newest session of this work that was interrupted, failed, or whose process died; None
        when there is none. One that another living process runs does not count."""
        with self._transaction(self._engine) as connection:
            return _sessions.unfinished(connection, recipe_digest, target_json, host_fingerprint)

    def resume_session(
        self, session_id: str, *, toolchain: Mapping[str, str] | None = None
    ) -> SessionInfo:
        """Takes the session over for this process; later trials count as measured with
        `toolchain` when it is given. CatalogueError when another living process runs it."""
        with self._transaction(self._writer) as connection:
            return _sessions.resume(connection, session_id, toolchain)

    def heartbeat(self, session_id: str) -> None:
        """Says that this process still runs the session; `add_trials` says so too. Once in 30 s
        is enough. CatalogueError when another process has taken the session over."""
        with self._transaction(self._writer) as connection:
            _sessions.heartbeat(connection, session_id)

    def set_budget(self, session_id: str, trials: int, *, recipe_yaml: str | None = None) -> None:
        """Changes what the session may spend in all, trials done before included; and the recipe
        that says so, if it is given."""
        if trials < 0:
            raise ValueError(f"a budget of {trials} trials")
        values: dict[str, Any] = {} if recipe_yaml is None else {"recipe_yaml": recipe_yaml}
        with self._transaction(self._writer) as connection:
            _sessions.set_values(connection, session_id, budget_trials=trials, **values)

    def add_seconds(self, session_id: str, seconds: Mapping[str, float]) -> None:
        """Adds what a run of the session spent, by phase, to what earlier runs did; wall seconds.
        ValueError for seconds that are negative or not finite."""
        for phase, spent in seconds.items():
            if not (math.isfinite(spent) and spent >= 0):
                raise ValueError(f"{spent} seconds of {phase}")
        with self._transaction(self._writer) as connection:
            _sessions.add_seconds(connection, session_id, seconds)

    def close_session(
        self, session_id: str, state: Literal["finished", "interrupted", "failed"]
    ) -> None:
        with self._transaction(self._writer) as connection:
            _sessions.set_values(connection, session_id, state=state)

    def session(self, session_id: str) -> SessionInfo:
        with self._transaction(self._engine) as connection:
            return _sessions.info(connection, session_id)

    def sessions(
        self,
        limit: int | None = 20,
        *,
        states: Iterable[SessionState] | None = None,
        name: str | None = None,
        host_fingerprint: str | None = None,
        recipe_digest: str | None = None,
        target_json: str | None = None,
    ) -> list[SessionInfo]:
        """The sessions, newest first; only those of which all that is given is true."""
        with self._transaction(self._engine) as connection:
            return session_report.listed(
                connection,
                limit=limit,
                states=states,
                name=name,
                host_fingerprint=host_fingerprint,
                recipe_digest=recipe_digest,
                target_json=target_json,
            )

    def find_session(self, prefix: str) -> SessionInfo:
        """The session whose id starts so; CatalogueError where that is none or several."""
        with self._transaction(self._engine) as connection:
            return session_report.find(connection, prefix)

    def account(
        self, session_id: str, *, measured_with: Mapping[str, Any] | None = None
    ) -> SessionReport:
        """How a session went: tasks, outcomes in their order, failures with an example. What was
        known before counts where it was measured with these options; if left out, where its
        seconds are comparable with those of the session's first trial."""
        with self._transaction(self._engine) as connection:
            return session_report.account(connection, session_id, measured_with)

    # Tasks and trials

    def ensure_tasks(self, session_id: str, tasks: Sequence[NewTask]) -> list[int]:
        """The ids of the session's tasks, in the order given; those that it has already (by
        workload) stay as they are. ValueError where two have the same workload."""
        with self._transaction(self._writer) as connection:
            internal = _sessions.internal_id(connection, session_id)
            return _trials.ensure_tasks(connection, internal, tasks)

    def add_trials(self, session_id: str, trials: Sequence[NewTrial]) -> list[int]:
        """Writes the trials, all or none, as measured on the session's target, host and toolchain;
        their ids in order. ValueError for a task that is not the session's."""
        with self._transaction(self._writer) as connection:
            return _trials.add(connection, session_id, trials)

    def trials(
        self,
        *,
        session_id: str | None = None,
        structural_hash: str | None = None,
        target_json: str | None = None,
    ) -> Iterator[Trial]:
        """All trials, failures included, in order of arrival. Read page by page, so writing may go
        on meanwhile, also by this process."""
        internal = None
        if session_id is not None:
            with self._transaction(self._engine) as connection:
                internal = _sessions.internal_id(connection, session_id)
        after = 0
        while True:
            with self._transaction(self._engine) as connection:
                page = _trials.page(
                    connection,
                    after=after,
                    limit=_PAGE,
                    session_id=internal,
                    structural_hash=structural_hash,
                    target_json=target_json,
                )
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].trial_id

    def mark_wrong(self, trial_id: int, text: str) -> None:
        """Turns a trial, whose outputs turned out to be wrong later on, into a failure of that kind
        with this text: it is a record or a winner no more. ValueError where there is no such
        trial."""
        with self._transaction(self._writer) as connection:
            _trials.mark_wrong(connection, trial_id, text)

    def known_trials(
        self,
        task_id: int,
        candidate_digests: Iterable[str],
        *,
        measure_options: Mapping[str, Any] | None = None,
    ) -> dict[str, Trial]:
        """Those candidates of a task whose result is known from any session on the same target and
        host with a compatible toolchain, by their digests: the latest trial with seconds, else the
        latest failure. With `measure_options` only trials measured with just these count, and
        failures that no option changes (`FailureKind.deterministic`). A device that was lost says
        nothing about the candidate. ValueError for a task that does not exist."""
        with self._transaction(self._engine) as connection:
            return _trials.known(connection, task_id, candidate_digests, measure_options)

    def known_before(
        self,
        task_id: int,
        *,
        latest: int,
        best: int,
        measured_with: Mapping[str, Any] | None = None,
    ) -> list[Trial]:
        """What was known of a task's workload, on the same target and host with a compatible
        toolchain, when its session began: the `latest` newest and the `best` fastest trials,
        failures included, in order of arrival; good ones only where they were measured with these
        options. ValueError for a task that does not exist."""
        with self._transaction(self._engine) as connection:
            return prior_trials.known_before(
                connection, task_id, latest=latest, best=best, measured_with=measured_with
            )

    def known_counts(
        self, session_id: str, *, measured_with: Mapping[str, Any] | None = None
    ) -> dict[int, int]:
        """Good trials that there were of each of the session's tasks (by id) when it began, on the
        same target and host with a compatible toolchain, measured with these options."""
        with self._transaction(self._engine) as connection:
            internal = _sessions.internal_id(connection, session_id)
            return prior_trials.known_counts(connection, internal, measured_with)

    def reuse_trials(self, task_id: int, trial_ids: Iterable[int]) -> None:
        """Notes that the task took these trials' results instead of measuring again; said twice
        counts once."""
        with self._transaction(self._writer) as connection:
            _trials.reuse(connection, task_id, trial_ids)

    def task_summaries(self, session_id: str) -> list[TaskSummary]:
        """The session's tasks in order, each with what its trials came to."""
        with self._transaction(self._engine) as connection:
            internal = _sessions.internal_id(connection, session_id)
            return _trials.summaries(connection, internal)

    def measured_before(
        self,
        *,
        structural_hashes: Iterable[str],
        target_json: str,
        host_fingerprint: str,
        toolchain_key: str,
    ) -> dict[str, int]:
        """Trials of each workload under these conditions, in all sessions; by structural hash."""
        with self._transaction(self._engine) as connection:
            return session_report.measured_before(
                connection,
                structural_hashes=structural_hashes,
                target_json=target_json,
                host_fingerprint=host_fingerprint,
                toolchain_key=toolchain_key,
            )

    def failures(self, session_id: str) -> list[FailureGroup]:
        """The session's failures by task, in the order of its tasks, and by kind, the most frequent
        first; each with one text as an example."""
        with self._transaction(self._engine) as connection:
            return _failures.by_task(connection, _sessions.internal_id(connection, session_id))

    # Records

    def records(
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
        with self._transaction(self._engine) as connection:
            return _records.best(
                connection,
                structural_hashes=structural_hashes,
                target_json=target_json,
                host_fingerprint=host_fingerprint,
                toolchain_key=toolchain_key,
                measured_with=measured_with,
                top_k=top_k,
            )

    def add_winner(self, trial_id: int, samples_s: Sequence[float]) -> None:
        """Notes the trial that won when the best of its workload were measured again in turns,
        with its seconds in that comparison."""
        with self._transaction(self._writer) as connection:
            _records.add_winner(connection, trial_id, samples_s)

    def winners(
        self,
        *,
        structural_hashes: Iterable[str],
        target_json: str,
        host_fingerprint: str,
        toolchain_key: str,
        measured_with: Mapping[str, Any] | None = None,
    ) -> list[Record]:
        """The latest winner of each workload that has one; its `samples_s` are those of the
        comparison, `score_s` the shortest of them, `measured_at` when it was decided."""
        with self._transaction(self._engine) as connection:
            return _records.winners(
                connection,
                structural_hashes=structural_hashes,
                target_json=target_json,
                host_fingerprint=host_fingerprint,
                toolchain_key=toolchain_key,
                measured_with=measured_with,
            )

    def has_workload(self, structural_hash: str) -> bool:
        """Whether a workload with this hash is there, measured or not."""
        with self._transaction(self._engine) as connection:
            return keys.has_workload(connection, structural_hash)

    def best_records(
        self,
        *,
        structural_hashes: Iterable[str],
        target_json: str,
        host_fingerprint: str,
        toolchain_key: str,
        measured_with: Mapping[str, Any] | None = None,
    ) -> list[Record]:
        """The record of each workload to compile with, in the order asked for: the winner of the
        latest final, unless a trial measured since then was faster still. With measuring options
        trials under others count only for workloads that have none under these."""
        with self._transaction(self._engine) as connection:
            return _records.settled(
                connection,
                structural_hashes=structural_hashes,
                target_json=target_json,
                host_fingerprint=host_fingerprint,
                toolchain_key=toolchain_key,
                measured_with=measured_with,
            )

    def record_count(self, *, target_json: str, host_fingerprint: str, toolchain_key: str) -> int:
        """How many good trials there are on this target and host with a compatible toolchain."""
        with self._transaction(self._engine) as connection:
            return _records.count(
                connection,
                target_json=target_json,
                host_fingerprint=host_fingerprint,
                toolchain_key=toolchain_key,
            )

    # Libraries and benchmarks

    def add_library(self, new: NewLibrary) -> int:
        with self._transaction(self._writer) as connection:
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
                    created_at=datetime.now(timezone.utc),
                )
                .returning(schema.Library.id)
            ).scalar_one()

    def add_bench_run(self, new: NewBenchRun) -> int:
        with self._transaction(self._writer) as connection:
            return connection.execute(
                insert(schema.BenchRun)
                .values(
                    library_id=new.library_id,
                    host_id=keys.host(connection, new.host_fingerprint, new.host),
                    toolchain_id=keys.toolchain(connection, new.toolchain),
                    name=new.name,
                    recipe_digest=new.recipe_digest,
                    environment=dict(new.environment),
                    results=dict(new.results),
                    measured_at=new.measured_at,
                )
                .returning(schema.BenchRun.id)
            ).scalar_one()

    # Looking through records

    def list_records(
        self,
        wanted: listing.RecordFilter,
        *,
        order: listing.Order = "newest",
        limit: int | None = 20,
        offset: int = 0,
    ) -> list[listing.ListedRecord]:
        """The records that the filter means, without their traces; a page of them."""
        with self._transaction(self._engine) as connection:
            return listing.records(connection, wanted, order=order, limit=limit, offset=offset)

    def list_best(
        self, wanted: listing.RecordFilter, *, limit: int | None = 20, offset: int = 0
    ) -> list[listing.BestRecord]:
        """The fastest of these records for each workload, target and host, slowest first."""
        with self._transaction(self._engine) as connection:
            return listing.best(connection, wanted, limit=limit, offset=offset)

    def best_ids(self, wanted: listing.RecordFilter, top: int) -> list[int]:
        """The `top` fastest records of each workload, target, host and toolchain; what won the
        latest final counts as fastest."""
        with self._transaction(self._engine) as connection:
            return listing.best_ids(connection, wanted, top)

    def record(self, trial_id: int) -> listing.ListedRecord:
        """One record. CatalogueError when there is none, or when it is a failure."""
        with self._transaction(self._engine) as connection:
            return listing.one(connection, trial_id)

    def record_source(self, trial_id: int) -> tuple[str, str]:
        """A trial's trace and its workload's module, as they were saved."""
        with self._transaction(self._engine) as connection:
            return listing.trace_json(connection, trial_id)

    def count_records(self, wanted: listing.RecordFilter) -> tuple[int, int]:
        """How many records the filter means, and how many failures it would mean too."""
        with self._transaction(self._engine) as connection:
            return listing.counts(connection, wanted)

    def record_contents(self, wanted: listing.RecordFilter) -> Iterator[listing.RecordContent]:
        """What is needed to replay each of these records, in order of arrival, page by page."""
        after = 0
        while True:
            with self._transaction(self._engine) as connection:
                page = listing.contents(connection, wanted, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].trial_id

    def workload_module(self, workload_id: int) -> str:
        """The saved module of a workload."""
        with self._transaction(self._engine) as connection:
            return listing.module_json(connection, workload_id)

    def remove_records(self, wanted: listing.RecordFilter) -> int:
        """Deletes these records for good; how many there were. CatalogueError when a living
        process runs one of their sessions."""
        with self._transaction(self._writer) as connection:
            return removal.remove(connection, wanted)

    # Together with other catalogues and programs

    def add_import(
        self, session: NewSession, records: Sequence[imports.ImportedRecord]
    ) -> imports.ImportedSession:
        """Enters the records that are not there yet as a finished session, all or none."""
        with self._transaction(self._writer) as connection:
            return imports.add(connection, session, records)

    def merge(self, other: Catalogue) -> _merge.Merged:
        """Copies all that another catalogue has and this one does not. Whole sessions at a time:
        interrupted, another merge does the rest. CatalogueError when a living process runs a
        session here that the other one has more trials of."""
        if self._is(other):
            raise CatalogueError(
                f"{other.location} is this catalogue itself", hint="name another one"
            )
        reader = other._engine
        if reader.dialect.name == "postgresql":
            reader = reader.execution_options(isolation_level="REPEATABLE READ")
        return _merge.merge(
            lambda: other._transaction(reader), lambda: self._transaction(self._writer)
        )

    # Upkeep

    def facts(self) -> maintenance.Facts:
        """Size, revision and counts."""
        with self._transaction(self._engine) as connection:
            return maintenance.facts(connection, self.location, migrate.CURRENT)

    def backup(self, destination: Path, *, force: bool = False) -> int:
        """Copies the catalogue as it is at one moment, while others write; the copy's bytes.
        CatalogueError where the file is there already and not `force`, and on PostgreSQL."""
        if self._engine.dialect.name != "sqlite":
            raise CatalogueError(
                f"{self.location} is kept in a database that has its own tools for copies",
                hint="use pg_dump; or take everything into an SQLite file: "
                "`tunekit catalogue merge URL --catalogue FILE`",
            )
        with self._transaction(self._engine), connect.catalogue_errors(self.location):
            return maintenance.backup(self.location, destination, force=force)

    def vacuum(self) -> dict[str, int]:
        """Removes what nothing refers to (how many rows, by table) and gives free space back."""
        with self._transaction(self._writer) as connection:
            removed = removal.remove_unused(connection)
        with connect.catalogue_errors(self.location):
            maintenance.vacuum(self._engine)
        return removed

    # Soundness

    def check(self) -> list[str]:
        """Reads everything and names each problem in a sentence; empty when all is sound."""
        with self._transaction(self._engine) as connection:
            return list(integrity.problems(connection))

    def _is(self, other: Catalogue) -> bool:
        """Whether it is the same database."""
        if self._engine.url == other._engine.url:
            return True
        here, there = Path(self.location), Path(other.location)
        return here.is_file() and there.is_file() and here.samefile(there)

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"the catalogue was opened by process {self._pid}; a forked child opens its own"
            )
        with connect.catalogue_errors(self.location), engine.begin() as connection:
            yield connection
