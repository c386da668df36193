"""Tasks and their trials, good and failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tunekit.catalogue.conditions import Conditions
from tunekit.catalogue.db.transactions import Transactions
from tunekit.catalogue.entries import NewTask, NewTrial, TaskSummary, Trial
from tunekit.catalogue.queries import failures as _failures
from tunekit.catalogue.queries import prior_trials, session_report
from tunekit.catalogue.queries import sessions as _sessions
from tunekit.catalogue.queries import trials as _trials
from tunekit.catalogue.queries.failures import FailureGroup

# Trials in one transaction.
_PAGE = 500


class Trials:
    """Tasks and their trials, good and failed."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def ensure_tasks(self, session_id: str, tasks: Sequence[NewTask]) -> list[int]:
        """The ids of the session's tasks, in the order given; those that it has already (by
        workload) stay as they are. ValueError where two have the same workload."""
        with self._transactions.writing() as connection:
            internal = _sessions.internal_id(connection, session_id)
            return _trials.ensure_tasks(connection, internal, tasks)

    def add(self, session_id: str, trials: Sequence[NewTrial]) -> list[int]:
        """Writes the trials, all or none, as measured on the session's target, host and toolchain;
        their ids in order. ValueError for a task that is not the session's."""
        with self._transactions.writing() as connection:
            return _trials.add(connection, session_id, trials)

    def read(
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
            with self._transactions.reading() as connection:
                internal = _sessions.internal_id(connection, session_id)
        after = 0
        while True:
            with self._transactions.reading() as connection:
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
        with self._transactions.writing() as connection:
            _trials.mark_wrong(connection, trial_id, text)

    def known(
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
        with self._transactions.reading() as connection:
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
        with self._transactions.reading() as connection:
            return prior_trials.known_before(
                connection, task_id, latest=latest, best=best, measured_with=measured_with
            )

    def known_counts(
        self, session_id: str, *, measured_with: Mapping[str, Any] | None = None
    ) -> dict[int, int]:
        """Good trials that there were of each of the session's tasks (by id) when it began, on the
        same target and host with a compatible toolchain, measured with these options."""
        with self._transactions.reading() as connection:
            internal = _sessions.internal_id(connection, session_id)
            return prior_trials.known_counts(connection, internal, measured_with)

    def reuse(self, task_id: int, trial_ids: Iterable[int]) -> None:
        """Notes that the task took these trials' results instead of measuring again; said twice
        counts once."""
        with self._transactions.writing() as connection:
            _trials.reuse(connection, task_id, trial_ids)

    def summaries(self, session_id: str) -> list[TaskSummary]:
        """The session's tasks in order, each with what its trials came to."""
        with self._transactions.reading() as connection:
            internal = _sessions.internal_id(connection, session_id)
            return _trials.summaries(connection, internal)

    def measured_before(
        self, conditions: Conditions, structural_hashes: Iterable[str]
    ) -> dict[str, int]:
        """Trials of each workload under these conditions, with the caches in any state, in all
        sessions; by structural hash."""
        with self._transactions.reading() as connection:
            return session_report.measured_before(connection, conditions, structural_hashes)

    def failures(self, session_id: str) -> list[FailureGroup]:
        """The session's failures by task, in the order of its tasks, and by kind, the most frequent
        first; each with one text as an example."""
        with self._transactions.reading() as connection:
            return _failures.by_task(connection, _sessions.internal_id(connection, session_id))
