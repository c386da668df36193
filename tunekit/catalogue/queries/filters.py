"""Which records a person means: the filter, and the condition that it is of a row of trials."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, and_, func, or_, select, true

from tunekit.catalogue.db import schema
from tunekit.catalogue.queries import session_report, sessions

_trials = schema.Trial
_tasks = schema.Task
_sessions = schema.Session


@dataclass(frozen=True)
class RecordFilter:
    """Which records are meant; what is left out does not narrow.

    Texts match where they occur anywhere, in either case; with `*` or `?` they match as a whole.

    Attributes:
        model: name of the model or of the recipe.
        operator: name of the task, what it computes in words, or its structural hash in full.
        target: in the form "llvm -mcpu=znver3 -num-cores=2".
        host: fingerprint (or its start) or name of the CPU.
        session: session, or the start of its id.
        since: measured at this moment or later.
        until: measured before this moment.
        ids: just these trials.
        structural_hashes: of just these workloads.
        toolchain_key: replayable by this toolchain (`entries.toolchain_key`).
        with_reused: a session's records include the results that it took from other sessions.
    """

    model: str | None = None
    operator: str | None = None
    target: str | None = None
    host: str | None = None
    session: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: tuple[int, ...] | None = None
    structural_hashes: tuple[str, ...] | None = None
    toolchain_key: str | None = None
    with_reused: bool = False

    @property
    def narrows(self) -> bool:
        """Whether anything is left out at all."""
        return self != RecordFilter(with_reused=self.with_reused)


def target_text(target_json: str) -> str:
    """A target on one line: "llvm -mcpu=znver3 -num-cores=2"."""
    try:
        config = json.loads(target_json)
        words = [str(config.pop("kind"))]
    except (ValueError, KeyError, AttributeError, TypeError):
        return target_json
    for key, value in sorted(config.items()):
        if isinstance(value, list):
            value = ",".join(map(str, value))
        elif isinstance(value, dict):
            value = json.dumps(value, separators=(",", ":"))
        words.append(f"-{key}={value}")
    return " ".join(words)


def condition(
    connection: Connection, record_filter: RecordFilter, *, failed: bool | None = False
) -> ColumnElement[bool]:
    """What the filter asks of a row of trials; with `failed` None whatever came of them."""
    conditions: list[ColumnElement[bool]] = [true()]
    if failed is not None:
        conditions.append(_trials.failure_kind.is_not(None) if failed else _trials.score_s > 0)
    conditions += _of_origin(connection, record_filter)
    conditions += _of_conditions(connection, record_filter)
    conditions += _of_time(record_filter)
    conditions += _of_content(record_filter)
    return and_(*conditions)


def _of_origin(
    connection: Connection, record_filter: RecordFilter
) -> Iterator[ColumnElement[bool]]:
    """The model and the session that they were measured for."""
    if record_filter.model is not None:
        yield _trials.session_id.in_(
            select(_sessions.id)
            .join(schema.Model, schema.Model.id == _sessions.model_id, isouter=True)
            .where(
                or_(
                    _matches(schema.Model.name, record_filter.model),
                    _matches(_sessions.name, record_filter.model),
                )
            )
        )
    if record_filter.session is not None:
        session = session_report.find(connection, record_filter.session)
        session_id = sessions.internal_id(connection, session.id)
        own: ColumnElement[bool] = _trials.session_id == session_id
        if record_filter.with_reused:
            reused = (
                select(schema.Reuse.trial_id)
                .join(_tasks, _tasks.id == schema.Reuse.task_id)
                .where(_tasks.session_id == session_id)
            )
            own = or_(own, _trials.id.in_(reused))
        yield own


def _of_conditions(
    connection: Connection, record_filter: RecordFilter
) -> Iterator[ColumnElement[bool]]:
    """The target, the host and the toolchain that they hold for."""
    if record_filter.target is not None:
        yield _trials.target_id.in_(_target_ids(connection, record_filter.target))
    if record_filter.host is not None:
        yield _trials.host_id.in_(_host_ids(connection, record_filter.host))
    if record_filter.toolchain_key is not None:
        yield _trials.toolchain_id.in_(
            select(schema.Toolchain.id).where(schema.Toolchain.key == record_filter.toolchain_key)
        )


def _of_time(record_filter: RecordFilter) -> Iterator[ColumnElement[bool]]:
    """When they were measured."""
    if record_filter.since is not None:
        yield _trials.measured_at >= record_filter.since
    if record_filter.until is not None:
        yield _trials.measured_at < record_filter.until


def _of_content(record_filter: RecordFilter) -> Iterator[ColumnElement[bool]]:
    """What they compute, or which they are."""
    if record_filter.operator is not None:
        named = select(_tasks.id).where(_matches(_tasks.name, record_filter.operator))
        described = select(schema.Workload.id).where(
            or_(
                schema.Workload.structural_hash == record_filter.operator,
                _matches(schema.Workload.name, record_filter.operator),
            )
        )
        yield or_(_trials.task_id.in_(named), _trials.workload_id.in_(described))
    if record_filter.structural_hashes is not None:
        yield _trials.workload_id.in_(
            select(schema.Workload.id).where(
                _among(schema.Workload.structural_hash, record_filter.structural_hashes)
            )
        )
    if record_filter.ids is not None:
        yield _among(_trials.id, record_filter.ids)


def _among(column: Any, values: Iterable[Any]) -> ColumnElement[bool]:
    """`column IN values` in parts: one list of parameters has a limited length."""
    listed = list(values)
    parts = [column.in_(listed[start : start + 500]) for start in range(0, len(listed), 500)]
    return or_(*parts) if parts else column.in_([])


def _matches(column: Any, pattern: str) -> ColumnElement[bool]:
    like = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    if "*" in pattern or "?" in pattern:
        like = like.replace("*", "%").replace("?", "_")
    else:
        like = f"%{like}%"
    matching: ColumnElement[bool] = func.lower(column, type_=String).like(like.lower(), escape="\\")
    return matching


def _target_ids(connection: Connection, pattern: str) -> list[int]:
    rows = connection.execute(select(schema.Target.id, schema.Target.canonical_json)).all()
    return [
        row.id
        for row in rows
        if row.canonical_json == pattern or _fits(target_text(row.canonical_json), pattern)
    ]


def _host_ids(connection: Connection, pattern: str) -> list[int]:
    host = schema.Host
    rows = connection.execute(select(host.id, host.fingerprint, host.cpu_name)).all()
    return [
        row.id
        for row in rows
        if row.fingerprint.startswith(pattern) or _fits(row.cpu_name, pattern)
    ]


def _fits(text: str, pattern: str) -> bool:
    """As `_matches` has it. Words of a target may come in any order."""
    text, pattern = text.lower(), pattern.lower()
    if "*" in pattern or "?" in pattern:
        return fnmatch(text, pattern)
    return all(word in text for word in pattern.split())
