"""What was measured of a session's workloads before it began: what its search starts from.

What other sessions measured later is left out: a session that goes on would otherwise start from
something else than it started from at first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, or_, select

from tunekit.catalogue.db import schema
from tunekit.catalogue.entries import FailureKind, Trial
from tunekit.catalogue.queries import keys, trials

_trials = schema.Trial


def known_before(
    connection: Connection,
    task_id: int,
    *,
    latest: int,
    best: int,
    measured_with: Mapping[str, Any] | None,
) -> list[Trial]:
    """See `Trials.known_before`."""
    task = trials.circumstances(connection, task_id)
    query = trials.comparable(task).where(
        *_earlier(task),
        *(
            or_(_trials.score_s.is_(None), condition)
            for condition in _measured_with(connection, measured_with)
        ),
        _trials.failure_kind.is_distinct_from(FailureKind.LOST_DEVICE.value),
    )
    by_id = {
        row.id: trials.from_row(row)
        for selection in (
            query.order_by(_trials.id.desc()).limit(latest),
            query.where(_trials.score_s.is_not(None)).order_by(_trials.score_s).limit(best),
        )
        for row in connection.execute(selection)
    }
    return [by_id[trial_id] for trial_id in sorted(by_id)]


def known_counts(
    connection: Connection, session_id: int, measured_with: Mapping[str, Any] | None
) -> dict[int, int]:
    """See `Trials.known_counts`."""
    counts: dict[int, int] = {}
    for task_id in connection.scalars(
        select(schema.Task.id).where(schema.Task.session_id == session_id)
    ):
        task = trials.circumstances(connection, task_id)
        query = trials.comparable(task, func.count(_trials.id)).where(
            *_earlier(task),
            _trials.score_s.is_not(None),
            *_measured_with(connection, measured_with),
        )
        counts[task_id] = int(connection.scalar(query) or 0)
    return counts


def _earlier(task: Row[Any]) -> tuple[ColumnElement[bool], ...]:
    return _trials.session_id != task.session_id, _trials.measured_at < task.created_at


def _measured_with(
    connection: Connection, options: Mapping[str, Any] | None
) -> list[ColumnElement[bool]]:
    if options is None:
        return []
    return [_trials.measure_options_id.in_(keys.options_with(connection, options))]
