"""Looking through records: filtered, newest or best first, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select

from tunekit.catalogue.db import schema
from tunekit.catalogue.queries.filters import RecordFilter, condition
from tunekit.errors import CatalogueError

_trials = schema.Trial
_tasks = schema.Task
_sessions = schema.Session

Order = Literal["newest", "fastest"]


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


def records(
    connection: Connection,
    record_filter: RecordFilter,
    *,
    order: Order,
    limit: int | None,
    offset: int,
) -> list[ListedRecord]:
    ordering = (
        (_trials.id.desc(),) if order == "newest" else (_trials.score_s.asc(), _trials.id.asc())
    )
    query = _listed().where(condition(connection, record_filter)).order_by(*ordering)
    rows = connection.execute(query.limit(limit).offset(offset)).all()
    return _with_winners(connection, rows)


def record(connection: Connection, trial_id: int) -> ListedRecord:
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
    connection: Connection, record_filter: RecordFilter, *, limit: int | None, offset: int
) -> list[BestRecord]:
    """Per workload, target and host, the slowest workloads first: there is most to gain."""
    group = (_trials.workload_id, _trials.target_id, _trials.host_id)
    shortest = func.min(_trials.score_s)
    groups = connection.execute(
        select(*group, shortest.label("score_s"), func.count().label("records"))
        .where(condition(connection, record_filter))
        .group_by(*group)
        .order_by(shortest.desc(), *group)
        .limit(limit)
        .offset(offset)
    ).all()
    chosen = condition(connection, record_filter)
    best_records: list[BestRecord] = []
    for row in groups:
        first = connection.execute(
            _listed()
            .where(
                chosen,
                _trials.workload_id == row.workload_id,
                _trials.target_id == row.target_id,
                _trials.host_id == row.host_id,
                _trials.score_s == row.score_s,
            )
            .order_by(_trials.id)
            .limit(1)
        ).one()
        best_records.append(BestRecord(_with_winners(connection, [first])[0], row.records))
    return best_records


def counts(connection: Connection, record_filter: RecordFilter) -> tuple[int, int]:
    """How many records are meant, and how many trials that failed were left out."""
    any_outcome = condition(connection, record_filter, failed=None)
    good, failed = connection.execute(
        select(
            func.count(_trials.score_s),
            func.count(_trials.failure_kind),
        ).where(any_outcome)
    ).one()
    return good, failed


def best_ids(connection: Connection, record_filter: RecordFilter, top: int) -> list[int]:
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
        .where(condition(connection, record_filter))
        .subquery()
    )
    return list(connection.scalars(select(ranked.c.id).where(ranked.c.rank <= top)))


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
