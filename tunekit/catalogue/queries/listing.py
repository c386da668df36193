"""Looking through records: filtered, newest or best first, a page at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    String,
    and_,
    func,
    or_,
    select,
    true,
)

from tunekit.catalogue.db import schema
from tunekit.catalogue.queries import session_report, sessions
from tunekit.errors import CatalogueError

_trials = schema.Trial
_tasks = schema.Task
_sessions = schema.Session

#: The fingerprint of a host that nobody named.
UNKNOWN_HOST = "unknown"

Order = Literal["newest", "fastest"]


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


@dataclass(frozen=True)
class ListedRecord:
    """A record as lists show it: a good trial, without its trace.

    Attributes:
        score_s: what ranks it, seconds; `samples_s` are as measured.
        operator: TVM's name of its task.
        operation: what it computes in words; TVM's name again where nobody said.
        flops: floating-point operations of one run, where known.
        winner_s: seconds in the latest final of its workload, where it won that.
    """

    trial_id: int
    session_id: str
    session_name: str
    origin: str
    model_name: str | None
    operator: str
    structural_hash: str
    workload_id: int
    target_json: str
    host_fingerprint: str
    cpu_name: str
    toolchain_key: str
    score_s: float
    samples_s: tuple[float, ...]
    flops: float | None
    measured_at: datetime
    candidate_digest: str
    measure_options: dict[str, Any]
    winner_s: float | None = None
    operation: str = ""

    @property
    def gflops(self) -> float | None:
        """Thousand million floating-point operations a second."""
        return self.flops / self.score_s / 1e9 if self.flops else None


@dataclass(frozen=True)
class BestRecord:
    """The fastest record of a workload on one target and host, of `records` that were filtered."""

    record: ListedRecord
    records: int


@dataclass(frozen=True)
class RecordContent:
    """What is needed to replay a record."""

    trial_id: int
    workload_id: int
    trace_json: str
    samples_s: tuple[float, ...]
    target_json: str
    host_fingerprint: str
    toolchain_key: str


def target_text(target_json: str) -> str:
    """A target on one line: "llvm -mcpu=znver3 -num-cores=2"."""
    import json

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


def records(
    connection: Connection, wanted: RecordFilter, *, order: Order, limit: int | None, offset: int
) -> list[ListedRecord]:
    ordering = (
        (_trials.id.desc(),) if order == "newest" else (_trials.score_s.asc(), _trials.id.asc())
    )
    query = _listed().where(_condition(connection, wanted)).order_by(*ordering)
    rows = connection.execute(query.limit(limit).offset(offset)).all()
    return _with_winners(connection, rows)


def one(connection: Connection, trial_id: int) -> ListedRecord:
    row = connection.execute(
        _listed().where(_trials.id == trial_id, _trials.score_s.is_not(None))
    ).one_or_none()
    if row is None:
        failed = connection.scalar(select(_trials.failure_kind).where(_trials.id == trial_id))
        raise CatalogueError(
            f"trial {trial_id} failed ({failed}): it is not a record"
            if failed
            else f"there is no record {trial_id} in this catalogue",
            hint="`tunekit records ls` lists the records",
        )
    return _with_winners(connection, [row])[0]


def best(
    connection: Connection, wanted: RecordFilter, *, limit: int | None, offset: int
) -> list[BestRecord]:
    """Per workload, target and host, the slowest workloads first: there is most to gain."""
    group = (_trials.workload_id, _trials.target_id, _trials.host_id)
    shortest = func.min(_trials.score_s)
    groups = connection.execute(
        select(*group, shortest.label("score_s"), func.count().label("records"))
        .where(_condition(connection, wanted))
        .group_by(*group)
        .order_by(shortest.desc(), *group)
        .limit(limit)
        .offset(offset)
    ).all()
    condition = _condition(connection, wanted)
    found: list[BestRecord] = []
    for row in groups:
        first = connection.execute(
            _listed()
            .where(
                condition,
                _trials.workload_id == row.workload_id,
                _trials.target_id == row.target_id,
                _trials.host_id == row.host_id,
                _trials.score_s == row.score_s,
            )
            .order_by(_trials.id)
            .limit(1)
        ).one()
        found.append(BestRecord(_with_winners(connection, [first])[0], row.records))
    return found


def counts(connection: Connection, wanted: RecordFilter) -> tuple[int, int]:
    """How many records are meant, and how many trials that failed were left out."""
    any_outcome = _condition(connection, wanted, failed=None)
    good, failed = connection.execute(
        select(
            func.count(_trials.score_s),
            func.count(_trials.failure_kind),
        ).where(any_outcome)
    ).one()
    return good, failed


def contents(
    connection: Connection, wanted: RecordFilter, *, after: int, limit: int
) -> list[RecordContent]:
    """The next records with an id above `after`, in order of arrival, with their traces."""
    rows = connection.execute(
        select(
            _trials.id,
            _trials.workload_id,
            _trials.trace_json,
            _trials.samples_s,
            schema.Target.canonical_json,
            schema.Host.fingerprint,
            schema.Toolchain.key,
        )
        .join(schema.Target, schema.Target.id == _trials.target_id)
        .join(schema.Host, schema.Host.id == _trials.host_id)
        .join(schema.Toolchain, schema.Toolchain.id == _trials.toolchain_id)
        .where(_condition(connection, wanted), _trials.id > after)
        .order_by(_trials.id)
        .limit(limit)
    )
    return [
        RecordContent(
            trial_id=row.id,
            workload_id=row.workload_id,
            trace_json=row.trace_json,
            samples_s=tuple(row.samples_s),
            target_json=row.canonical_json,
            host_fingerprint=row.fingerprint,
            toolchain_key=row.key,
        )
        for row in rows
    ]


def best_ids(connection: Connection, wanted: RecordFilter, top: int) -> list[int]:
    """The `top` fastest records of each workload, target, host and toolchain; the winner of the
    latest final counts as fastest."""
    key = (_trials.workload_id, _trials.target_id, _trials.host_id, schema.Toolchain.key)
    won = (
        select(schema.Winner.trial_id, func.max(schema.Winner.id).label("final"))
        .group_by(schema.Winner.trial_id)
        .subquery()
    )
    rank = func.row_number().over(
        partition_by=key,
        order_by=(
            # NULLs last on every backend: what never won comes after what won last.
            func.coalesce(won.c.final, 0).desc(),
            _trials.score_s,
            _trials.id,
        ),
    )
    ranked = (
        select(_trials.id, rank.label("rank"))
        .join(schema.Toolchain, schema.Toolchain.id == _trials.toolchain_id)
        .join(won, won.c.trial_id == _trials.id, isouter=True)
        .where(_condition(connection, wanted))
        .subquery()
    )
    return list(connection.scalars(select(ranked.c.id).where(ranked.c.rank <= top)))


def module_json(connection: Connection, workload_id: int) -> str:
    """A workload's module as it was saved."""
    found: str = connection.execute(
        select(schema.Workload.module_json).where(schema.Workload.id == workload_id)
    ).scalar_one()
    return found


def trace_json(connection: Connection, trial_id: int) -> tuple[str, str]:
    """A trial's trace and its workload's module."""
    row = connection.execute(
        select(_trials.trace_json, schema.Workload.module_json)
        .join(schema.Workload, schema.Workload.id == _trials.workload_id)
        .where(_trials.id == trial_id)
    ).one()
    return row.trace_json, row.module_json


def chosen(
    connection: Connection, wanted: RecordFilter, *, failed: bool | None = False
) -> ColumnElement[bool]:
    """The condition of a filter, for other statements about trials."""
    return _condition(connection, wanted, failed=failed)


def _listed() -> Any:
    return (
        select(
            _trials.id,
            _trials.workload_id,
            _trials.score_s,
            _trials.samples_s,
            _trials.measured_at,
            _trials.candidate_digest,
            _tasks.name.label("operator"),
            _tasks.flops,
            _sessions.public_id,
            _sessions.name.label("session_name"),
            _sessions.origin,
            schema.Model.name.label("model_name"),
            schema.Workload.structural_hash,
            schema.Workload.name.label("operation"),
            schema.Target.canonical_json,
            schema.Host.fingerprint,
            schema.Host.cpu_name,
            schema.Toolchain.key,
            schema.MeasureOptions.options,
        )
        .join(_tasks, _tasks.id == _trials.task_id)
        .join(_sessions, _sessions.id == _trials.session_id)
        .join(schema.Model, schema.Model.id == _sessions.model_id, isouter=True)
        .join(schema.Workload, schema.Workload.id == _trials.workload_id)
        .join(schema.Target, schema.Target.id == _trials.target_id)
        .join(schema.Host, schema.Host.id == _trials.host_id)
        .join(schema.Toolchain, schema.Toolchain.id == _trials.toolchain_id)
        .join(schema.MeasureOptions, schema.MeasureOptions.id == _trials.measure_options_id)
    )


def _with_winners(connection: Connection, rows: Sequence[Row[Any]]) -> list[ListedRecord]:
    """The rows as records, each with its seconds in the latest final that it won."""
    winner = schema.Winner
    won: dict[int, float] = {}
    ids = [row.id for row in rows]
    for start in range(0, len(ids), 500):
        finals = connection.execute(
            select(winner.trial_id, winner.best_s)
            .where(winner.trial_id.in_(ids[start : start + 500]))
            .order_by(winner.id)
        )
        won.update((row.trial_id, row.best_s) for row in finals)
    return [
        ListedRecord(
            trial_id=row.id,
            session_id=row.public_id,
            session_name=row.session_name,
            origin=row.origin,
            model_name=row.model_name,
            operator=row.operator,
            structural_hash=row.structural_hash,
            workload_id=row.workload_id,
            target_json=row.canonical_json,
            host_fingerprint=row.fingerprint,
            cpu_name=row.cpu_name,
            toolchain_key=row.key,
            score_s=row.score_s,
            samples_s=tuple(row.samples_s),
            flops=row.flops,
            measured_at=row.measured_at,
            candidate_digest=row.candidate_digest,
            measure_options=row.options,
            winner_s=won.get(row.id),
            operation=row.operation,
        )
        for row in rows
    ]


def _condition(
    connection: Connection, wanted: RecordFilter, *, failed: bool | None = False
) -> ColumnElement[bool]:
    """What the filter asks of a row of trials; with `failed` None whatever their outcome was."""
    conditions: list[ColumnElement[bool]] = [true()]
    if failed is not None:
        conditions.append(_trials.failure_kind.is_not(None) if failed else _trials.score_s > 0)
    if wanted.model is not None:
        conditions.append(
            _trials.session_id.in_(
                select(_sessions.id)
                .join(schema.Model, schema.Model.id == _sessions.model_id, isouter=True)
                .where(
                    or_(
                        _matches(schema.Model.name, wanted.model),
                        _matches(_sessions.name, wanted.model),
                    )
                )
            )
        )
    if wanted.operator is not None:
        conditions.append(
            or_(
                _trials.task_id.in_(
                    select(_tasks.id).where(_matches(_tasks.name, wanted.operator))
                ),
                _trials.workload_id.in_(
                    select(schema.Workload.id).where(
                        or_(
                            schema.Workload.structural_hash == wanted.operator,
                            _matches(schema.Workload.name, wanted.operator),
                        )
                    )
                ),
            )
        )
    if wanted.target is not None:
        conditions.append(_trials.target_id.in_(_target_ids(connection, wanted.target)))
    if wanted.host is not None:
        conditions.append(_trials.host_id.in_(_host_ids(connection, wanted.host)))
    if wanted.session is not None:
        session_id = sessions.internal_id(
            connection, session_report.find(connection, wanted.session).id
        )
        own: ColumnElement[bool] = _trials.session_id == session_id
        if wanted.with_reused:
            reused = (
                select(schema.Reuse.trial_id)
                .join(_tasks, _tasks.id == schema.Reuse.task_id)
                .where(_tasks.session_id == session_id)
            )
            own = or_(own, _trials.id.in_(reused))
        conditions.append(own)
    if wanted.since is not None:
        conditions.append(_trials.measured_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(_trials.measured_at < wanted.until)
    if wanted.structural_hashes is not None:
        conditions.append(
            _trials.workload_id.in_(
                select(schema.Workload.id).where(
                    _among(schema.Workload.structural_hash, wanted.structural_hashes)
                )
            )
        )
    if wanted.toolchain_key is not None:
        conditions.append(
            _trials.toolchain_id.in_(
                select(schema.Toolchain.id).where(schema.Toolchain.key == wanted.toolchain_key)
            )
        )
    if wanted.ids is not None:
        conditions.append(_among(_trials.id, wanted.ids))
    return and_(*conditions)


def _among(column: Any, values: Iterable[Any]) -> ColumnElement[bool]:
    """`column IN values` in parts: one list of parameters has a limited length."""
    every = list(values)
    parts = [column.in_(every[start : start + 500]) for start in range(0, len(every), 500)]
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
