"""Taking everything of another catalogue in.

Each thing is known by what makes it that thing, never by its number: a host by its fingerprint, a
session by when, where and for what it was begun, a trial by its session, candidate and moment. So
merging twice changes nothing, and a catalogue and its copy that both went on come together again.
Each session is one transaction: when merging is interrupted, merging again does the rest.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Row,
    Table,
    func,
    insert,
    select,
    update,
)

from tunekit.catalogue.db import schema
from tunekit.catalogue.process_owner import Owner
from tunekit.errors import CatalogueError

Transaction = Callable[[], AbstractContextManager[Connection]]


def _plain(table: type[schema.Base]) -> Table:
    """A table whose compressed columns are bytes: copying need not unpack and pack them."""
    return Table(
        table.__tablename__,
        MetaData(),
        *(
            Column(
                column.name,
                LargeBinary() if isinstance(column.type, schema.CompressedText) else column.type,
                primary_key=column.primary_key,
            )
            for column in table.__table__.columns
        ),
    )


_hosts, _toolchains, _models, _targets, _workloads, _options = (
    _plain(table)
    for table in (
        schema.Host,
        schema.Toolchain,
        schema.Model,
        schema.Target,
        schema.Workload,
        schema.MeasureOptions,
    )
)
_sessions, _tasks, _trials, _winners, _reuses, _libraries, _bench_runs = (
    _plain(table)
    for table in (
        schema.Session,
        schema.Task,
        schema.Trial,
        schema.Winner,
        schema.Reuse,
        schema.Library,
        schema.BenchRun,
    )
)
# What stands for itself, with its natural key.
_REFERRED = (
    (_hosts, ("fingerprint",)),
    (_toolchains, ("digest",)),
    (_models, ("digest",)),
    (_targets, ("digest",)),
    (_workloads, ("structural_hash", "content_digest")),
    (_options, ("digest",)),
)
_REFERENCES = {
    "host_id": _hosts.name,
    "toolchain_id": _toolchains.name,
    "model_id": _models.name,
    "target_id": _targets.name,
    "workload_id": _workloads.name,
    "measure_options_id": _options.name,
}
# What makes a trial that trial, within its session; columns by their names in the database.
_TRIAL_KEY = ("workload_id", "candidate_digest", "measured_at", "mean_s", "failure_kind")
_PAGE = 500


@dataclass
class Merged:
    """What was new: sessions and trials, and all the rest by table. `renamed` are sessions whose
    public id was taken by another one here: the old id and the new."""

    sessions: int = 0
    trials: int = 0
    winners: int = 0
    reuses: int = 0
    libraries: int = 0
    bench_runs: int = 0
    renamed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether all of it was here already."""
        return self == Merged()


def merge(source: Transaction, destination: Transaction) -> Merged:
    """Copies what the destination does not have; the source is only read.

    Args:
        source: begins a reading transaction on the other catalogue.
        destination: begins a writing transaction on this one.
    """
    merged = Merged()
    with source() as theirs:
        copy = _Merge(theirs, merged)
        with destination() as ours:
            copy.referred(ours)
        for row in theirs.execute(select(_sessions).order_by(_sessions.c.id)).all():
            with destination() as ours:
                copy.session(ours, row)
        with destination() as ours:
            copy.reuses(ours)
            copy.libraries(ours)
            copy.bench_runs(ours)
    return merged


class _Merge:
    """The numbers here of what has a number there, table by table."""

    def __init__(self, theirs: Connection, merged: Merged) -> None:
        self._theirs = theirs
        self._merged = merged
        self._ids: dict[str, dict[int, int]] = {name: {} for name in _REFERENCES.values()}
        for table in (_sessions, _tasks, _trials, _libraries):
            self._ids[table.name] = {}

    def referred(self, ours: Connection) -> None:
        for table, key in _REFERRED:
            here = {
                tuple(row[1:]): row.id
                for row in ours.execute(select(table.c.id, *(table.c[name] for name in key)))
            }
            for row in self._theirs.execute(select(table)):
                values = row._asdict()
                theirs_id = values.pop("id")
                natural = tuple(values[name] for name in key)
                if natural not in here:
                    here[natural] = _insert(ours, table, values)
                self._ids[table.name][theirs_id] = here[natural]

    def session(self, ours: Connection, row: Row[Any]) -> None:
        values = self._translated(_sessions, row)
        same = [_sessions.c[name] == values[name] for name in ("created_at", "recipe_digest")]
        same += [_sessions.c[name] == values[name] for name in ("target_id", "host_id", "seed")]
        our_session = ours.execute(select(_sessions).where(*same).with_for_update()).one_or_none()
        if our_session is None:
            taken = ours.scalar(
                select(_sessions.c.id).where(_sessions.c.public_id == row.public_id)
            )
            if taken is not None:
                values["public_id"] = _free_id(ours)
                self._merged.renamed.append((row.public_id, values["public_id"]))
            here = _insert(ours, _sessions, values)
            self._merged.sessions += 1
        else:
            here = our_session.id
        self._ids[_sessions.name][row.id] = here
        self._session_tasks(ours, row.id, here)
        added = self._session_trials(ours, row.id, here, our_session)
        self._session_winners(ours, row.id)
        if our_session is not None and added and row.updated_at > our_session.updated_at:
            # The copy that went on further knows best how the session stands.
            standing = ("state", "budget_trials", "updated_at", "heartbeat_at", "seconds")
            owner = ("owner_pid", "owner_started", "owner_machine")
            ours.execute(
                update(_sessions)
                .where(_sessions.c.id == here)
                .values({name: values[name] for name in (*standing, *owner) if name in values})
            )

    def _session_tasks(self, ours: Connection, theirs_id: int, here_id: int) -> None:
        here = {
            row.workload_id: row.id
            for row in ours.execute(
                select(_tasks.c.id, _tasks.c.workload_id).where(_tasks.c.session_id == here_id)
            )
        }
        position = len(here)
        for row in self._theirs.execute(
            select(_tasks).where(_tasks.c.session_id == theirs_id).order_by(_tasks.c.position)
        ):
            values = {**self._translated(_tasks, row), "session_id": here_id}
            if values["workload_id"] not in here:
                values["position"] = position
                position += 1
                here[values["workload_id"]] = _insert(ours, _tasks, values)
            self._ids[_tasks.name][row.id] = here[values["workload_id"]]

    def _session_trials(
        self, ours: Connection, theirs_id: int, here_id: int, our_session: Row[Any] | None
    ) -> int:
        here: dict[tuple[Any, ...], int] = {}
        position = 0
        if our_session is not None:
            for known in ours.execute(
                select(_trials.c.id, *(_trials.c[name] for name in _TRIAL_KEY)).where(
                    _trials.c.session_id == here_id
                )
            ):
                here[tuple(known[1:])] = known.id
                position += 1
        added = 0
        for page in self._pages(_trials, _trials.c.session_id == theirs_id, _trials.c.position):
            fresh: list[tuple[int, dict[str, Any]]] = []
            for row in page:
                values = self._translated(_trials, row)
                key = tuple(values[name] for name in _TRIAL_KEY)
                if key in here:
                    self._ids[_trials.name][row.id] = here[key]
                    continue
                values |= {
                    "session_id": here_id,
                    "task_id": self._ids[_tasks.name][row.task_id],
                    "position": position + added + len(fresh),
                }
                fresh.append((row.id, values))
            if fresh and our_session is not None and not added:
                _refuse_living(our_session)
            self._ids[_trials.name].update(
                zip(
                    (theirs for theirs, _ in fresh),
                    _insert_all(ours, _trials, [values for _, values in fresh]),
                    strict=True,
                )
            )
            added += len(fresh)
        self._merged.trials += added
        return added

    def _session_winners(self, ours: Connection, theirs_id: int) -> None:
        of_session = select(_trials.c.id).where(_trials.c.session_id == theirs_id)
        rows = self._theirs.execute(
            select(_winners).where(_winners.c.trial_id.in_(of_session)).order_by(_winners.c.id)
        ).all()
        for row in rows:
            trial_id = self._ids[_trials.name][row.trial_id]
            known = ours.scalar(
                select(_winners.c.id).where(
                    _winners.c.trial_id == trial_id, _winners.c.decided_at == row.decided_at
                )
            )
            if known is None:
                _insert(ours, _winners, {**_values(_winners, row), "trial_id": trial_id})
                self._merged.winners += 1

    def reuses(self, ours: Connection) -> None:
        task_ids, trial_ids = self._ids[_tasks.name], self._ids[_trials.name]
        here = {tuple(row) for row in ours.execute(select(_reuses.c.task_id, _reuses.c.trial_id))}
        fresh = []
        for row in self._theirs.execute(select(_reuses).order_by(_reuses.c.id)):
            key = (task_ids[row.task_id], trial_ids[row.trial_id])
            if key not in here:
                fresh.append({**_values(_reuses, row), "task_id": key[0], "trial_id": key[1]})
        _insert_all(ours, _reuses, fresh)
        self._merged.reuses += len(fresh)

    def libraries(self, ours: Connection) -> None:
        same = ("sha256", "path", "created_at")
        for row in self._theirs.execute(select(_libraries).order_by(_libraries.c.id)).all():
            here = _find(ours, _libraries, row, same)
            if here is None:
                session = row.session_id and self._ids[_sessions.name][row.session_id]
                here = _insert(
                    ours, _libraries, {**_values(_libraries, row), "session_id": session}
                )
                self._merged.libraries += 1
            self._ids[_libraries.name][row.id] = here

    def bench_runs(self, ours: Connection) -> None:
        same = ("measured_at", "name", "recipe_digest")
        for row in self._theirs.execute(select(_bench_runs).order_by(_bench_runs.c.id)).all():
            if _find(ours, _bench_runs, row, same) is None:
                library = row.library_id and self._ids[_libraries.name][row.library_id]
                _insert(
                    ours, _bench_runs, {**self._translated(_bench_runs, row), "library_id": library}
                )
                self._merged.bench_runs += 1

    def _translated(self, table: Table, row: Row[Any]) -> dict[str, Any]:
        """The row's values with the numbers that what it refers to has here."""
        values = _values(table, row)
        for column, referred in _REFERENCES.items():
            if values.get(column) is not None:
                values[column] = self._ids[referred][values[column]]
        return values

    def _pages(self, table: Table, condition: Any, order: Any) -> Iterator[Sequence[Row[Any]]]:
        after = -1
        while True:
            rows = self._theirs.execute(
                select(table).where(condition, order > after).order_by(order).limit(_PAGE)
            ).all()
            if rows:
                yield rows
            if len(rows) < _PAGE:
                return
            after = getattr(rows[-1], order.name)


def _values(table: Table, row: Row[Any]) -> dict[str, Any]:
    return {column.key: row._mapping[column] for column in table.c if column.key != "id"}


def _insert(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    return int(connection.execute(insert(table).values(values).returning(table.c.id)).scalar_one())


def _insert_all(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> list[int]:
    if not rows:
        return []
    statement = insert(table).returning(table.c.id, sort_by_parameter_order=True)
    return list(connection.scalars(statement, rows))


def _find(connection: Connection, table: Table, row: Row[Any], same: Sequence[str]) -> int | None:
    return connection.scalar(
        select(table.c.id).where(*(table.c[name] == getattr(row, name) for name in same)).limit(1)
    )


def _free_id(connection: Connection) -> str:
    while True:
        public_id = secrets.token_hex(4)
        count = connection.scalar(
            select(func.count()).select_from(_sessions).where(_sessions.c.public_id == public_id)
        )
        if not count:
            return public_id


def _refuse_living(session: Row[Any]) -> None:
    owner = Owner(session.owner_pid, session.owner_started, session.owner_machine)
    if session.state == "running" and owner.lives(session.heartbeat_at):
        raise CatalogueError(
            f"session {session.public_id} is being run by process {session.owner_pid}, and the "
            "other catalogue has more trials of it",
            hint="wait for it to end, then merge again",
        )
