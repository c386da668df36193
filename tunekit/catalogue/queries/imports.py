"""Records that were measured by somebody else's program, entered as a session of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, select

from tunekit.catalogue.db import schema
from tunekit.catalogue.entries import NewSession, NewTask, NewTrial, NewWorkload
from tunekit.catalogue.queries import keys, sessions, trials

#: The fingerprint of a host that nobody named.
UNKNOWN_HOST = "unknown"

_trials = schema.Trial
_Key = tuple[str, str, tuple[float, ...]]


@dataclass(frozen=True)
class ImportedRecord:
    """A record from elsewhere, replayed: what the catalogue keeps of it."""

    workload: NewWorkload
    flops: float | None
    candidate_digest: str
    trace_json: str
    samples_s: tuple[float, ...]
    measured_at: datetime

    @property
    def key(self) -> _Key:
        """Equal for the same measurement, however often it comes."""
        return self.workload.structural_hash, self.candidate_digest, self.samples_s


@dataclass(frozen=True)
class ImportedSession:
    """What became of an import: its session (None where nothing was new), the records that were
    new and those that were there already."""

    session_id: str | None
    added: int
    known: int


def add(
    connection: Connection, session: NewSession, records: Sequence[ImportedRecord]
) -> ImportedSession:
    """Enters the records that the catalogue does not have yet, as one finished session.

    A measurement is there already when one of the same workload, candidate and seconds is, on the
    same target and host; where the session's host is unknown, on whichever host.
    """
    distinct = list({record.key: record for record in records}.values())
    there = _there(connection, session, distinct)
    fresh = [record for record in distinct if record.key not in there]
    if not fresh:
        return ImportedSession(None, 0, len(records))
    info = sessions.begin(connection, replace(session, budget_trials=len(fresh)))
    internal = sessions.internal_id(connection, info.id)
    # Two texts of one kernel are one workload: told by the id that each gets.
    task_ids: dict[str, int] = {}
    tasks: dict[int, NewTask] = {}
    workload_ids: dict[str, int] = {}
    for record in fresh:
        text = record.workload.module_json
        if text not in workload_ids:
            workload_ids[text] = keys.workload(connection, record.workload)
            tasks.setdefault(
                workload_ids[text],
                NewTask(record.workload, record.workload.name, 1.0, record.flops),
            )
    ids = trials.ensure_tasks(connection, internal, list(tasks.values()))
    by_workload = dict(zip(tasks, ids, strict=True))
    for text, workload_id in workload_ids.items():
        task_ids[text] = by_workload[workload_id]
    trials.add(
        connection,
        info.id,
        [
            NewTrial(
                task_id=task_ids[record.workload.module_json],
                candidate_digest=record.candidate_digest,
                trace_json=record.trace_json,
                samples_s=record.samples_s,
                measured_at=record.measured_at,
            )
            for record in fresh
        ],
    )
    sessions.set_values(connection, info.id, state="finished")
    return ImportedSession(info.id, len(fresh), len(records) - len(fresh))


def _there(
    connection: Connection, session: NewSession, records: Sequence[ImportedRecord]
) -> set[_Key]:
    target_id = keys.target_id(connection, session.target_json)
    if target_id is None:
        return set()
    query = (
        select(schema.Workload.structural_hash, _trials.candidate_digest, _trials.samples_s)
        .join(schema.Workload, schema.Workload.id == _trials.workload_id)
        .where(_trials.target_id == target_id, _trials.score_s.is_not(None))
    )
    if session.host_fingerprint != UNKNOWN_HOST:
        host_id = keys.host_id(connection, session.host_fingerprint)
        query = query.where(_trials.host_id == host_id)
    by_hash: defaultdict[str, list[str]] = defaultdict(list)
    for record in records:
        by_hash[record.workload.structural_hash].append(record.candidate_digest)
    there: set[_Key] = set()
    for structural_hash, digests in by_hash.items():
        rows = keys.in_chunks(
            connection,
            query.where(schema.Workload.structural_hash == structural_hash),
            _trials.candidate_digest,
            sorted(set(digests)),
        )
        there.update(
            (row.structural_hash, row.candidate_digest, tuple(row.samples_s)) for row in rows
        )
    return there
