"""Tasks and their trials: written as they are measured, read back in order, counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, insert, or_, select, update

from tunekit.catalogue.canonical_json import canonical_json, digest
from tunekit.catalogue.db import schema
from tunekit.catalogue.entries import Failure, FailureKind, NewTask, NewTrial, TaskSummary, Trial
from tunekit.catalogue.queries import keys, sessions

_tasks = schema.Task
_trials = schema.Trial
# The next position in a second statement, behind the session's lock: what a statement that waited
# for the lock would see is older than the lock.
_PLACES = select(
    _tasks.id,
    _tasks.workload_id,
    select(func.coalesce(func.max(_trials.position) + 1, 0))
    .where(_trials.session_id == bindparam("session_id"))
    .scalar_subquery()
    .label("position"),
).where(
    _tasks.session_id == bindparam("session_id"),
    _tasks.id.in_(bindparam("task_ids", expanding=True)),
)
_INSERT = insert(_trials).returning(_trials.id, sort_by_parameter_order=True)
_INSERT_ONE = insert(_trials).returning(_trials.id)
_CIRCUMSTANCES = (
    select(
        _tasks.session_id,
        _tasks.workload_id,
        schema.Session.target_id,
        schema.Session.host_id,
        schema.Session.created_at,
        schema.Toolchain.key,
    )
    .join(schema.Session, schema.Session.id == _tasks.session_id)
    .join(schema.Toolchain, schema.Toolchain.id == schema.Session.toolchain_id)
    .where(_tasks.id == bindparam("task_id"))
)


def ensure_tasks(connection: Connection, session_id: int, new: Sequence[NewTask]) -> list[int]:
    known: dict[int, int] = {
        row.workload_id: row.id
        for row in connection.execute(
            select(_tasks.workload_id, _tasks.id).where(_tasks.session_id == session_id)
        )
    }
    ids: list[int] = []
    for task in new:
        workload_id = keys.workload(connection, task.workload)
        if task.workload.name != task.name:
            keys.name_workload(connection, workload_id, task.workload.name)
        if workload_id not in known:
            known[workload_id] = connection.execute(
                insert(_tasks)
                .values(
                    session_id=session_id,
                    workload_id=workload_id,
                    position=len(known),
                    name=task.name,
                    weight=task.weight,
                    flops=task.flops,
                    implementation=task.implementation,
                )
                .returning(_tasks.id)
            ).scalar_one()
        elif known[workload_id] in ids:
            raise ValueError(
                f"task {task.name!r} has the workload {task.workload.structural_hash} of another "
                "task of the same model; add their weights up"
            )
        ids.append(known[workload_id])
    return ids


def add(connection: Connection, public_id: str, new: Sequence[NewTrial]) -> list[int]:
    """Five statements however many trials, each built once: see the speed that benchmarks/
    catalogue_volume.py holds this to."""
    session = sessions.claim(connection, public_id)
    if not new:
        return []
    task_ids = sorted({trial.task_id for trial in new})
    position = 0
    workloads: dict[int, int] = {}
    for start in range(0, len(task_ids), keys.CHUNK):
        for row in connection.execute(
            _PLACES,
            {"session_id": session.id, "task_ids": task_ids[start : start + keys.CHUNK]},
        ):
            workloads[row.id] = row.workload_id
            position = row.position
    strangers = [task_id for task_id in task_ids if task_id not in workloads]
    if strangers:
        raise ValueError(f"no task of this session has the id {strangers}")
    # Trials of one batch share their options; comparing them is cheaper than their digests.
    options: list[tuple[Mapping[str, Any], int]] = []
    rows: list[dict[str, Any]] = []
    for trial in new:
        options_id = next((known for given, known in options if given == trial.measure_options), 0)
        if not options_id:
            options_id = keys.measure_options(connection, trial.measure_options)
            options.append((trial.measure_options, options_id))
        rows.append(
            {
                "session_id": session.id,
                "position": position + len(rows),
                "task_id": trial.task_id,
                "workload_id": workloads[trial.task_id],
                "target_id": session.target_id,
                "host_id": session.host_id,
                "toolchain_id": session.toolchain_id,
                "measure_options_id": options_id,
                "candidate_digest": trial.candidate_digest,
                "measured_at": trial.measured_at,
                "score_s": trial.score_s,
                "failure_kind": trial.failure and trial.failure.kind.value,
                "build_s": trial.build_s,
                "measure_s": trial.measure_s,
                "calibration_s": trial.calibration_s,
                "samples_s": trial.samples_s and list(trial.samples_s),
                "failure_text": trial.failure and trial.failure.text,
                "trace_json": trial.trace_json,
                "slowdown": trial.slowdown,
                "device": trial.device,
            }
        )
    # One row needs no sorting, which costs more than the row.
    insertion = _INSERT_ONE if len(rows) == 1 else _INSERT
    ids = connection.scalars(insertion, rows).all()
    sessions.touch(connection, session.id)
    return list(ids)


def page(
    connection: Connection,
    *,
    after: int,
    limit: int,
    session_id: int | None,
    structural_hash: str | None,
    target_json: str | None,
) -> list[Trial]:
    """The next `limit` trials with an id above `after`, in order of arrival."""
    query = _whole_trials().where(_trials.id > after).order_by(_trials.id).limit(limit)
    if session_id is not None:
        query = query.where(_trials.session_id == session_id)
    if structural_hash is not None:
        query = query.where(schema.Workload.structural_hash == structural_hash)
    if target_json is not None:
        query = query.where(schema.Target.digest == digest(target_json))
    return [from_row(row) for row in connection.execute(query)]


def known(
    connection: Connection,
    task_id: int,
    candidates: Iterable[str],
    options: Mapping[str, Any] | None,
) -> dict[str, Trial]:
    """By candidate digest, what is known of this task's workload on its session's target and host
    with a compatible toolchain (see `Trials.known`)."""
    task = circumstances(connection, task_id)
    values = _values(task)
    if options is not None:
        values["options"] = digest(canonical_json(options))
    digests = list(candidates)
    by_digest: dict[str, Trial] = {}
    for start in range(0, len(digests), keys.CHUNK):
        values["candidates"] = digests[start : start + keys.CHUNK]
        for row in connection.execute(_known(options is not None), values):
            by_digest[row.candidate_digest] = from_row(row)
    return by_digest


def circumstances(connection: Connection, task_id: int) -> Row[Any]:
    """What the results of a task hang on: its workload, and its session's target, host and
    toolchain. ValueError for a task that does not exist."""
    task: Any = connection.execute(_CIRCUMSTANCES, {"task_id": task_id}).one_or_none()
    if task is None:
        raise ValueError(f"no task has the id {task_id}")
    row: Row[Any] = task
    return row


def comparable(task: Row[Any], *columns: Any) -> Any:
    """Trials of any session that were measured under these circumstances: these columns of them,
    or all."""
    return _comparable(*columns).params(_values(task))


def _comparable(*columns: Any) -> Any:
    return (
        (select(*columns).select_from(_trials) if columns else _whole_trials())
        .join(schema.Toolchain, schema.Toolchain.id == _trials.toolchain_id)
        .where(
            _trials.workload_id == bindparam("workload_id"),
            _trials.target_id == bindparam("target_id"),
            _trials.host_id == bindparam("host_id"),
            schema.Toolchain.key == bindparam("toolchain"),
        )
    )


def _values(task: Row[Any]) -> dict[str, Any]:
    return {
        "workload_id": task.workload_id,
        "target_id": task.target_id,
        "host_id": task.host_id,
        "toolchain": task.key,
    }


@cache
def _known(with_options: bool) -> Any:
    """What `known` asks, built once."""
    counts = _trials.failure_kind.is_distinct_from(FailureKind.LOST_DEVICE.value)
    if with_options:
        counts = or_(
            and_(counts, schema.MeasureOptions.digest == bindparam("options")),
            _trials.failure_kind.in_([kind.value for kind in FailureKind if kind.deterministic]),
        )
    return (
        _comparable()
        .where(_trials.candidate_digest.in_(bindparam("candidates", expanding=True)), counts)
        # The last one counts: the latest with seconds, else the latest failure.
        .order_by(_trials.failure_kind.is_(None), _trials.id)
    )


def mark_wrong(connection: Connection, trial_id: int, text: str) -> None:
    failure = Failure(FailureKind.WRONG_OUTPUT, text)
    result = connection.execute(
        update(_trials)
        .where(_trials.id == trial_id)
        .values(
            score_s=None,
            samples_s=None,
            failure_kind=failure.kind.value,
            failure_text=failure.text,
        )
    )
    if result.rowcount != 1:
        raise ValueError(f"no trial has the id {trial_id}")
    connection.execute(delete(schema.Winner).where(schema.Winner.trial_id == trial_id))


def reuse(connection: Connection, task_id: int, trial_ids: Iterable[int]) -> None:
    now = datetime.now(UTC)
    there = set(
        connection.scalars(select(schema.Reuse.trial_id).where(schema.Reuse.task_id == task_id))
    )
    wanted = dict.fromkeys(trial_ids)
    # Somebody may have removed one since it was read.
    kept = set(connection.scalars(select(_trials.id).where(_trials.id.in_(wanted))))
    rows = [
        {"task_id": task_id, "trial_id": trial_id, "reused_at": now}
        for trial_id in wanted
        if trial_id in kept and trial_id not in there
    ]
    if rows:
        connection.execute(insert(schema.Reuse), rows)


def summaries(connection: Connection, session_id: int) -> list[TaskSummary]:
    counts: dict[int, dict[str | None, int]] = {}
    best: dict[int, float] = {}
    for row in connection.execute(
        select(
            _trials.task_id,
            _trials.failure_kind,
            func.count().label("trials"),
            func.min(_trials.score_s).label("best_s"),
        )
        .join(_tasks, _tasks.id == _trials.task_id)
        .where(_tasks.session_id == session_id)
        .group_by(_trials.task_id, _trials.failure_kind)
    ):
        counts.setdefault(row.task_id, {})[row.failure_kind] = row.trials
        if row.best_s is not None:
            best[row.task_id] = row.best_s
    tasks = connection.execute(
        select(_tasks, schema.Workload.structural_hash, schema.Workload.name.label("operation"))
        .join(schema.Workload)
        .where(_tasks.session_id == session_id)
        .order_by(_tasks.position)
    )
    return [
        TaskSummary(
            task_id=row.id,
            position=row.position,
            name=row.name,
            structural_hash=row.structural_hash,
            weight=row.weight,
            flops=row.flops,
            implementation=row.implementation,
            trials=sum(counts.get(row.id, {}).values()),
            failures={
                FailureKind(kind): count
                for kind, count in counts.get(row.id, {}).items()
                if kind is not None
            },
            best_s=best.get(row.id),
            operation=row.operation,
        )
        for row in tasks
    ]


def _whole_trials() -> Any:
    return (
        select(
            _trials,
            schema.Session.public_id,
            _tasks.name.label("task_name"),
            schema.Workload.structural_hash,
            schema.Target.canonical_json,
            schema.Host.fingerprint,
            schema.MeasureOptions.options,
        )
        .join(schema.Session, schema.Session.id == _trials.session_id)
        .join(_tasks, _tasks.id == _trials.task_id)
        .join(schema.Workload, schema.Workload.id == _trials.workload_id)
        .join(schema.Target, schema.Target.id == _trials.target_id)
        .join(schema.Host, schema.Host.id == _trials.host_id)
        .join(schema.MeasureOptions, schema.MeasureOptions.id == _trials.measure_options_id)
    )


def from_row(row: Row[Any]) -> Trial:
    """The trial in a row of a query for whole trials."""
    return Trial(
        trial_id=row.id,
        session_id=row.public_id,
        position=row.position,
        task_id=row.task_id,
        task_name=row.task_name,
        structural_hash=row.structural_hash,
        target_json=row.canonical_json,
        host_fingerprint=row.fingerprint,
        candidate_digest=row.candidate_digest,
        trace_json=row.trace_json,
        samples_s=None if row.samples_s is None else tuple(row.samples_s),
        score_s=row.score_s,
        failure=None
        if row.failure_kind is None
        else Failure(FailureKind(row.failure_kind), row.failure_text),
        measure_options=row.options,
        build_s=row.build_s,
        measure_s=row.measure_s,
        calibration_s=row.calibration_s,
        measured_at=row.measured_at,
        slowdown=row.slowdown,
        device=row.device,
    )
