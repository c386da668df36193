"""Taking records out, and what nothing refers to any more."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, not_, select, update

from tunekit.catalogue.db import schema
from tunekit.catalogue.process_owner import Owner
from tunekit.catalogue.queries import filters
from tunekit.catalogue.queries.filters import RecordFilter
from tunekit.errors import CatalogueError

_trials = schema.Trial
_sessions = schema.Session


def remove(connection: Connection, record_filter: RecordFilter) -> int:
    """Deletes the records; how many there were. Finals that they won and notes of their reuse go
    with them. The trials that stay close ranks, and an import that has none left goes too.

    CatalogueError when a living process runs one of the sessions, or one that took results of the
    trials: it counts on them.
    """
    condition = filters.condition(connection, record_filter)
    touched = connection.execute(
        select(_sessions)
        .where(_sessions.id.in_(select(_trials.session_id).where(condition)))
        .with_for_update()
    ).all()
    takers = connection.execute(
        select(_sessions)
        .where(
            _sessions.id.in_(
                select(schema.Task.session_id)
                .join(schema.Reuse, schema.Reuse.task_id == schema.Task.id)
                .where(schema.Reuse.trial_id.in_(select(_trials.id).where(condition)))
            )
        )
        .with_for_update()
    ).all()
    _require_ended(touched, "counts on its records")
    _require_ended(takers, "took results from other sessions' records among these")
    deleted = connection.execute(delete(_trials).where(condition)).rowcount
    for session in touched:
        _close_ranks(connection, session.id)
        left = connection.scalar(
            select(func.count()).select_from(_trials).where(_trials.session_id == session.id)
        )
        if session.origin == "import" and not left:
            connection.execute(delete(_sessions).where(_sessions.id == session.id))
        else:
            connection.execute(
                update(_sessions)
                .where(_sessions.id == session.id)
                .values(updated_at=datetime.now(UTC))
            )
    return deleted


def _require_ended(sessions: Iterable[Any], why: str) -> None:
    for session in sessions:
        owner = Owner(session.owner_pid, session.owner_started, session.owner_machine)
        if session.state == "running" and owner.lives(session.heartbeat_at):
            raise CatalogueError(
                f"session {session.public_id} is being run by process {session.owner_pid}, which "
                f"{why}",
                hint="wait for it to end, or leave its records out (`--session`, `--until`)",
            )


def _close_ranks(connection: Connection, session_id: int) -> None:
    """Numbers a session's trials from 0 again, in their order; a gap means a lost trial."""
    rows = connection.execute(
        select(_trials.id, _trials.position)
        .where(_trials.session_id == session_id)
        .order_by(_trials.position)
    ).all()
    moves = [
        {"trial": row.id, "place": place} for place, row in enumerate(rows) if row.position != place
    ]
    if moves:
        # One after the other, from the front: each place is free when its turn comes.
        connection.execute(
            update(schema.Trial.__table__)  # type: ignore[arg-type]
            .where(schema.Trial.__table__.c.id == bindparam("trial"))
            .values(position=bindparam("place")),
            moves,
        )


def remove_unused(connection: Connection) -> dict[str, int]:
    """Deletes workloads, targets, hosts and the like that nothing refers to; how many, by table."""
    users: dict[Any, tuple[tuple[Any, str], ...]] = {
        schema.Workload: ((schema.Task, "workload_id"), (_trials, "workload_id")),
        schema.MeasureOptions: ((_trials, "measure_options_id"),),
        schema.Target: ((_sessions, "target_id"), (_trials, "target_id")),
        schema.Model: ((_sessions, "model_id"),),
        schema.Host: (
            (_sessions, "host_id"),
            (_trials, "host_id"),
            (schema.BenchRun, "host_id"),
        ),
        schema.Toolchain: (
            (_sessions, "toolchain_id"),
            (_trials, "toolchain_id"),
            (schema.BenchRun, "toolchain_id"),
        ),
    }
    removed: dict[str, int] = {}
    for table, columns in users.items():
        unused = [
            not_(exists().where(getattr(user, column) == table.id)) for user, column in columns
        ]
        count = connection.execute(delete(table).where(*unused)).rowcount
        if count:
            removed[table.__tablename__] = count
    return removed
