"""What must hold in a sound catalogue beyond what the database enforces by itself."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from sqlalchemy import Connection, LargeBinary, func, or_, select, text, type_coerce

from tunekit.catalogue.db import schema
from tunekit.catalogue.entries import corrected_mean
from tunekit.catalogue.workload_digest import content_digest

_trials = schema.Trial
_tasks = schema.Task


def problems(connection: Connection) -> Iterator[str]:
    """A sentence for each problem; nothing when the catalogue is sound. Reads all of it."""
    if connection.dialect.name == "sqlite":
        for (line,) in connection.execute(text("PRAGMA integrity_check")):
            if line != "ok":
                yield f"SQLite: {line}"
        for table, row, parent, _ in connection.execute(text("PRAGMA foreign_key_check")):
            yield f"row {row} of {table} refers to a row of {parent} that does not exist"
    yield from _copies(connection)
    yield from _gaps(connection)
    yield from _contents(connection)


def _copies(connection: Connection) -> Iterator[str]:
    astray = (
        select(_trials.id)
        .join(_tasks, _tasks.id == _trials.task_id)
        .where(
            or_(_trials.session_id != _tasks.session_id, _trials.workload_id != _tasks.workload_id)
        )
    )
    for trial_id in connection.scalars(astray):
        yield f"trial {trial_id} names another session or workload than its task"


def _gaps(connection: Connection) -> Iterator[str]:
    counts = (
        select(schema.Session.public_id, func.count(), func.max(_trials.position) + 1)
        .join(_trials, _trials.session_id == schema.Session.id)
        .group_by(schema.Session.public_id)
    )
    for public_id, there, expected in connection.execute(counts):
        if there != expected:
            yield f"session {public_id} has {there} of {expected} trials"


def _contents(connection: Connection) -> Iterator[str]:
    workloads = schema.Workload
    modules = select(
        workloads.id,
        workloads.content_digest,
        type_coerce(workloads.module_json, LargeBinary).label("packed"),
    )
    for workload in connection.execute(modules):
        if not _sound(workload.packed):
            yield f"workload {workload.id} has a damaged module"
        elif content_digest(zlib.decompress(workload.packed).decode()) != workload.content_digest:
            yield f"workload {workload.id} has another module than its digest says"
    query = select(
        _trials.id,
        _trials.score_s,
        _trials.samples_s,
        _trials.slowdown,
        type_coerce(_trials.trace_json, LargeBinary).label("packed"),
    )
    with connection.execution_options(yield_per=1000).execute(query) as rows:
        for row in rows:
            if not _sound(row.packed):
                yield f"trial {row.id} has a damaged trace"
            derived = None
            if row.samples_s is not None:
                derived = corrected_mean(tuple(row.samples_s), row.slowdown)
            if derived != row.score_s:
                yield f"trial {row.id} has score_s {row.score_s}, its run seconds give {derived}"


def _sound(packed: bytes) -> bool:
    try:
        zlib.decompress(packed)
    except zlib.error:
        return False
    return True
