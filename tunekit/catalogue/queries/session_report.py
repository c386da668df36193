"""Looking back: which sessions there were, and how one of them went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from tunekit.catalogue.conditions import Conditions
from tunekit.catalogue.db import schema
from tunekit.catalogue.entries import SessionInfo, SessionState, TaskSummary, comparable
from tunekit.catalogue.queries import failures, keys, sessions, trials
from tunekit.catalogue.queries.failures import FailureExample
from tunekit.errors import CatalogueError
from tunekit.implementations import model_latency_s

_sessions = schema.Session
_trials = schema.Trial


@dataclass(frozen=True)
class ResultPoint:
    """What one trial of a session came to, and when: `score_s` seconds of one call, or None for a
    failure."""

    task_id: int
    score_s: float | None
    measured_at: datetime | None = None


@dataclass(frozen=True)
class CompiledLibrary:
    """A library that a session ended in."""

    path: str
    created_at: datetime


@dataclass(frozen=True)
class SessionReport:
    """How a session went.

    Attributes:
        session: as it stands.
        tasks: in their order, with what this session's trials of each came to.
        outcomes: of its trials, in the order of arrival.
        failures: by kind, the most frequent first.
        known_s: best seconds of a call by task, where other sessions had measured the workload
            before this one began, under the same conditions.
        host: what the machine was.
        toolchain: versions by distribution.
        libraries: compiled from it, newest first.
    """

    session: SessionInfo
    tasks: list[TaskSummary]
    outcomes: list[ResultPoint]
    failures: list[FailureExample]
    known_s: dict[int, float]
    host: dict[str, Any]
    toolchain: dict[str, str]
    libraries: list[CompiledLibrary]

    def curve(self) -> list[tuple[int, float]]:
        """Estimated seconds of one run of the model after each trial that improved it.

        Points are (trials done, seconds), from the first moment at which all that must run had a
        time; empty where that never came. Of several algorithms for a convolution the fastest
        counts, and each only once all its kernels have a time.
        """
        best = {task.task_id: self.known_s.get(task.task_id) for task in self.tasks}
        points: list[tuple[int, float]] = []

        def note(done: int) -> None:
            seconds = [(task, best[task.task_id]) for task in self.tasks]
            latency_s = model_latency_s(
                (task.implementation, None if kernel_s is None else task.weight * kernel_s)
                for task, kernel_s in seconds
            )
            if latency_s is not None and not (points and latency_s >= points[-1][1]):
                points.append((done, latency_s))

        note(0)
        for done, outcome in enumerate(self.outcomes, start=1):
            before = best.get(outcome.task_id)
            if outcome.score_s is not None and (before is None or outcome.score_s < before):
                best[outcome.task_id] = outcome.score_s
                note(done)
        return points


def listed(
    connection: Connection,
    *,
    limit: int | None,
    states: Iterable[SessionState] | None,
    name: str | None,
    host_fingerprint: str | None,
    recipe_digest: str | None,
    target_json: str | None,
) -> list[SessionInfo]:
    """The sessions of which all of this is true, newest first."""
    query = sessions.query().order_by(_sessions.id.desc())
    if name is not None:
        query = query.where(_sessions.name == name)
    if host_fingerprint is not None:
        query = query.where(_sessions.host_id == keys.host_id(connection, host_fingerprint))
    if recipe_digest is not None:
        query = query.where(_sessions.recipe_digest == recipe_digest)
    if target_json is not None:
        query = query.where(_sessions.target_id == keys.target_id(connection, target_json))
    chosen_states = None if states is None else set(states)
    if chosen_states is None:
        query = query.limit(limit)
    else:
        # What is called running may have died: whether it did is not in the database.
        stored = chosen_states | ({"running"} if "interrupted" in chosen_states else set())
        query = query.where(_sessions.state.in_(sorted(stored)))
    listing: list[SessionInfo] = []
    for row in connection.execute(query):
        session = sessions.as_info(row)
        if chosen_states is None or session.state in chosen_states:
            listing.append(session)
        if limit is not None and len(listing) == limit:
            break
    return listing


def find(connection: Connection, prefix: str) -> SessionInfo:
    """The one session whose id starts with `prefix`; CatalogueError for none or several."""
    # Ids are lowercase hexadecimal; what is typed or pasted may not be.
    start = prefix.strip().lower()
    ids = connection.scalars(
        select(_sessions.public_id)
        .where(_sessions.public_id.startswith(start, autoescape=True))
        .order_by(_sessions.id.desc())
        .limit(4)
    ).all()
    if start and len(ids) == 1:
        return sessions.info(connection, ids[0])
    if not start or not ids:
        raise CatalogueError(
            f"there is no session {prefix!r} in this catalogue",
            hint="`tunekit sessions` lists them",
        )
    some = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
    raise CatalogueError(
        f"several sessions start with {prefix!r}: {some}", hint="give more of the id"
    )


def report(
    connection: Connection, public_id: str, measured_with: Mapping[str, Any] | None
) -> SessionReport:
    """Everything there is to say about a session (see `Sessions.report`)."""
    session_id = sessions.internal_id(connection, public_id)
    if measured_with is None:
        measured_with = _of_first_trial(connection, session_id)
    row = connection.execute(
        select(
            schema.Host.description,
            schema.Toolchain.versions,
            schema.Toolchain.key,
            _sessions.target_id,
            _sessions.host_id,
            _sessions.created_at,
        )
        .join(schema.Host, schema.Host.id == _sessions.host_id)
        .join(schema.Toolchain, schema.Toolchain.id == _sessions.toolchain_id)
        .where(_sessions.id == session_id)
    ).one()
    return SessionReport(
        session=sessions.info(connection, public_id),
        tasks=trials.summaries(connection, session_id),
        outcomes=_outcomes(connection, session_id),
        failures=failures.by_kind(failures.by_task(connection, session_id)),
        known_s=_known_s(connection, session_id, row, measured_with),
        host=row.description,
        toolchain=row.versions,
        libraries=_libraries(connection, session_id),
    )


def _of_first_trial(connection: Connection, session_id: int) -> dict[str, Any]:
    """The options with which the session's seconds are comparable."""
    options = connection.scalar(
        select(schema.MeasureOptions.options)
        .join(_trials, _trials.measure_options_id == schema.MeasureOptions.id)
        .where(_trials.session_id == session_id)
        .order_by(_trials.position)
        .limit(1)
    )
    return comparable(options or {})


def _known_s(
    connection: Connection, session_id: int, row: Row[Any], measured_with: Mapping[str, Any]
) -> dict[int, float]:
    """The best seconds that there were of each task when the session began, by task."""
    best = (
        select(_trials.score_s)
        .join(schema.Toolchain, schema.Toolchain.id == _trials.toolchain_id)
        .where(
            _trials.target_id == row.target_id,
            _trials.host_id == row.host_id,
            schema.Toolchain.key == row.key,
            _trials.score_s.is_not(None),
            _trials.measured_at < row.created_at,
        )
        .order_by(_trials.score_s)
        .limit(1)
    )
    if measured_with:
        alike = keys.options_with(connection, measured_with)
        best = best.where(_trials.measure_options_id.in_(alike))
    tasks = connection.execute(
        select(schema.Task.id, schema.Task.workload_id).where(schema.Task.session_id == session_id)
    ).all()
    known = {
        task.id: connection.scalar(best.where(_trials.workload_id == task.workload_id))
        for task in tasks
    }
    return {task_id: seconds for task_id, seconds in known.items() if seconds is not None}


def _outcomes(connection: Connection, session_id: int) -> list[ResultPoint]:
    rows = connection.execute(
        select(_trials.task_id, _trials.score_s, _trials.measured_at)
        .where(_trials.session_id == session_id)
        .order_by(_trials.position)
    )
    return [ResultPoint(task_id, score_s, moment) for task_id, score_s, moment in rows]


def _libraries(connection: Connection, session_id: int) -> list[CompiledLibrary]:
    """Newest first."""
    rows = connection.execute(
        select(schema.Library.path, schema.Library.created_at)
        .where(schema.Library.session_id == session_id)
        .order_by(schema.Library.id.desc())
    )
    return [CompiledLibrary(path, created_at) for path, created_at in rows]


def measured_before(
    connection: Connection, conditions: Conditions, structural_hashes: Iterable[str]
) -> dict[str, int]:
    """Trials of each workload that were measured under these conditions, with the
    caches in any state, in any session."""
    query = (
        select(schema.Workload.structural_hash, func.count().label("trials"))
        .join(_trials, _trials.workload_id == schema.Workload.id)
        .join(schema.Toolchain, schema.Toolchain.id == _trials.toolchain_id)
        .where(*keys.under(connection, conditions))
        .group_by(schema.Workload.structural_hash)
    )
    hashes = list(dict.fromkeys(structural_hashes))
    rows = keys.in_chunks(connection, query, schema.Workload.structural_hash, hashes)
    return {row.structural_hash: row.trials for row in rows}
