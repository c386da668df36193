"""What went wrong in a session, gathered by task and kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from tunekit.catalogue.db import schema
from tunekit.catalogue.entries import Failure, FailureKind

_trials = schema.Trial
_tasks = schema.Task


@dataclass(frozen=True)
class FailureGroup:
    """The failures of one kind in one task: how many, and the latest of them as an example."""

    task_id: int
    task_name: str
    kind: FailureKind
    count: int
    trial_id: int
    example: Failure


@dataclass(frozen=True)
class FailureExample:
    """A kind of failure in a session: how many, and the text of the latest with its task."""

    kind: FailureKind
    count: int
    task_name: str
    text: str


def by_task(connection: Connection, session_id: int) -> list[FailureGroup]:
    # Counted within ix_trials_task; only the examples' rows are read.
    groups = (
        select(
            _trials.task_id,
            _trials.failure_kind,
            func.count().label("count"),
            func.max(_trials.id).label("latest"),
        )
        .join(_tasks, _tasks.id == _trials.task_id)
        .where(_tasks.session_id == session_id, _trials.failure_kind.is_not(None))
        .group_by(_trials.task_id, _trials.failure_kind)
        .subquery()
    )
    rows = connection.execute(
        select(
            groups.c.task_id,
            _tasks.name,
            groups.c.failure_kind,
            groups.c.count,
            groups.c.latest,
            _trials.failure_text,
        )
        .join(_tasks, _tasks.id == groups.c.task_id)
        .join(_trials, _trials.id == groups.c.latest)
        .order_by(_tasks.position, groups.c.count.desc(), groups.c.failure_kind)
    )
    return [
        FailureGroup(
            task_id=task_id,
            task_name=name,
            kind=FailureKind(kind),
            count=count,
            trial_id=latest,
            example=Failure(FailureKind(kind), text or ""),
        )
        for task_id, name, kind, count, latest, text in rows
    ]


def by_kind(groups: Sequence[FailureGroup]) -> list[FailureExample]:
    """The failures of all tasks by kind, the most frequent first."""
    counts: Counter[FailureKind] = Counter()
    latest: dict[FailureKind, FailureGroup] = {}
    for group in sorted(groups, key=lambda group: group.trial_id):
        counts[group.kind] += group.count
        latest[group.kind] = group
    return [
        FailureExample(kind, count, latest[kind].task_name, latest[kind].example.text)
        for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0].value))
    ]
