"""Seconds by phase, corrected seconds of trials, and workloads by content instead of by text."""

from __future__ import annotations

import zlib
from collections import defaultdict

import sqlalchemy as sa
from alembic import op

from tunekit.catalogue.workload_digest import content_digest

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_workloads = sa.table(
    "workloads",
    sa.column("id"),
    sa.column("structural_hash"),
    sa.column("content_digest"),
    sa.column("module_json", sa.LargeBinary()),
)
_tasks = sa.table(
    "tasks", sa.column("id"), sa.column("session_id"), sa.column("workload_id"), sa.column("weight")
)
_trials = sa.table("trials", sa.column("id"), sa.column("task_id"), sa.column("workload_id"))
_reuses = sa.table("reuses", sa.column("id"), sa.column("task_id"), sa.column("trial_id"))


def upgrade() -> None:
    op.add_column("sessions", sa.Column("seconds", sa.JSON(), nullable=True))
    op.add_column("trials", sa.Column("slowdown", sa.Double(), nullable=True))
    op.add_column("trials", sa.Column("device", sa.String(length=128), nullable=True))
    op.add_column("tasks", sa.Column("place", sa.String(length=128), nullable=True))
    _identify_workloads_by_content(op.get_bind())


def _identify_workloads_by_content(connection: sa.Connection) -> None:
    """Gives every workload the digest of what it computes. Where two turn out to be one, the older
    keeps its text and gets the tasks and trials of the other: no trial is lost."""
    same: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    ids = connection.scalars(sa.select(_workloads.c.id).order_by(_workloads.c.id)).all()
    for workload_id in ids:
        row = connection.execute(
            sa.select(_workloads.c.structural_hash, _workloads.c.module_json).where(
                _workloads.c.id == workload_id
            )
        ).one()
        try:
            module_json = zlib.decompress(row.module_json).decode("utf-8")
        except (zlib.error, UnicodeDecodeError):
            continue  # damaged: stays what it was, for `check` to name
        same[row.structural_hash, content_digest(module_json)].append(workload_id)
    for (_, digest), (kept, *others) in same.items():
        for other in others:
            _merge(connection, kept, other)
        connection.execute(
            sa.update(_workloads).where(_workloads.c.id == kept).values(content_digest=digest)
        )


def _merge(connection: sa.Connection, kept: int, other: int) -> None:
    tasks = {
        workload_id: {
            row.session_id: row
            for row in connection.execute(
                sa.select(_tasks).where(_tasks.c.workload_id == workload_id)
            )
        }
        for workload_id in (kept, other)
    }
    for session_id, task in tasks[other].items():
        twin = tasks[kept].get(session_id)
        if twin is not None:
            # One model had both: it runs the one workload as often as the two together.
            _merge_tasks(connection, twin.id, task.id)
            connection.execute(
                sa.update(_tasks)
                .where(_tasks.c.id == twin.id)
                .values(weight=twin.weight + task.weight)
            )
    for table in (_tasks, _trials):
        connection.execute(
            sa.update(table).where(table.c.workload_id == other).values(workload_id=kept)
        )
    connection.execute(sa.delete(_workloads).where(_workloads.c.id == other))


def _merge_tasks(connection: sa.Connection, kept: int, other: int) -> None:
    connection.execute(sa.update(_trials).where(_trials.c.task_id == other).values(task_id=kept))
    already = sa.select(_reuses.c.trial_id).where(_reuses.c.task_id == kept)
    connection.execute(
        sa.delete(_reuses).where(_reuses.c.task_id == other, _reuses.c.trial_id.in_(already))
    )
    connection.execute(sa.update(_reuses).where(_reuses.c.task_id == other).values(task_id=kept))
    connection.execute(sa.delete(_tasks).where(_tasks.c.id == other))
