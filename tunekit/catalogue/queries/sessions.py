"""Sessions: who runs them, how far they are."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    func,
    insert,
    select,
    update,
)

from tunekit.catalogue.db import schema
from tunekit.catalogue.entries import NewSession, SessionInfo, SessionState
from tunekit.catalogue.process_owner import Owner, this_process
from tunekit.catalogue.queries import keys
from tunekit.errors import CatalogueError

_sessions = schema.Session


# Built once: building a statement costs more than SQLite needs to carry it out.
_CLAIM = (
    select(_sessions.id, _sessions.target_id, _sessions.host_id, _sessions.toolchain_id)
    .where(_sessions.public_id == bindparam("public_id"))
    .with_for_update()
)
_TOUCH = (
    update(_sessions)
    .where(_sessions.id == bindparam("session_id"))
    .values(
        updated_at=bindparam("now", type_=schema.UtcDateTime),
        heartbeat_at=case(
            (
                and_(
                    _sessions.owner_pid == bindparam("pid"),
                    _sessions.owner_started == bindparam("started"),
                    _sessions.owner_machine == bindparam("machine"),
                ),
                bindparam("now", type_=schema.UtcDateTime),
            ),
            else_=_sessions.heartbeat_at,
        ),
    )
)


def begin(connection: Connection, new: NewSession) -> SessionInfo:
    now = datetime.now(UTC)
    public_id = secrets.token_hex(4)
    while connection.scalar(select(_sessions.id).where(_sessions.public_id == public_id)):
        public_id = secrets.token_hex(4)
    model_id = (
        None
        if new.model_digest is None
        else keys.model(connection, new.model_digest, new.model_name)
    )
    connection.execute(
        insert(_sessions).values(
            public_id=public_id,
            name=new.name,
            origin=new.origin,
            state="running",
            budget_trials=new.budget_trials,
            seed=new.seed,
            recipe_digest=new.recipe_digest,
            recipe_yaml=new.recipe_yaml,
            model_id=model_id,
            target_id=keys.target(connection, new.target_json),
            host_id=keys.host(connection, new.host_fingerprint, new.host),
            toolchain_id=keys.toolchain(connection, new.toolchain),
            created_at=now,
            **_claimed(now),
        )
    )
    return info(connection, public_id)


def unfinished(
    connection: Connection,
    recipe_digest: str,
    target_json: str,
    host_fingerprint: str,
    toolchain_key: str | None,
) -> SessionInfo | None:
    matching = query().where(
        _sessions.recipe_digest == recipe_digest,
        _sessions.target_id == keys.target_id(connection, target_json),
        _sessions.host_id == keys.host_id(connection, host_fingerprint),
        _sessions.state != "finished",
    )
    if toolchain_key is not None:
        matching = matching.where(schema.Toolchain.key == toolchain_key)
    for row in connection.execute(matching.order_by(_sessions.id.desc())):
        session = as_info(row)
        if session.state != "running":
            return session
    return None


def resume(
    connection: Connection, public_id: str, toolchain: Mapping[str, str] | None
) -> SessionInfo:
    row = _row(connection, public_id, lock=True)
    owner = _owner(row)
    if row.state == "running" and owner != this_process() and owner.lives(row.heartbeat_at):
        raise CatalogueError(
            f"session {public_id} is being run by process {row.owner_pid}",
            hint="wait for it to end, or stop it with Ctrl-C, then resume",
        )
    values: dict[str, Any] = {"state": "running", **_claimed(datetime.now(UTC))}
    if toolchain is not None:
        values["toolchain_id"] = keys.toolchain(connection, toolchain)
    connection.execute(update(_sessions).where(_sessions.id == row.id).values(**values))
    return info(connection, public_id)


def heartbeat(connection: Connection, public_id: str) -> None:
    beaten = connection.execute(
        update(_sessions)
        .where(_sessions.public_id == public_id, _mine())
        .values(heartbeat_at=datetime.now(UTC))
    )
    if not beaten.rowcount:
        row = _row(connection, public_id)
        raise CatalogueError(
            f"session {public_id} has been taken over by process {row.owner_pid}",
            hint="what was measured is kept; let that process finish the session",
        )


def set_values(connection: Connection, public_id: str, **values: Any) -> None:
    connection.execute(
        update(_sessions)
        .where(_sessions.id == internal_id(connection, public_id))
        .values(updated_at=datetime.now(UTC), **values)
    )


def add_seconds(connection: Connection, public_id: str, seconds: Mapping[str, float]) -> None:
    row = connection.execute(
        select(_sessions.id, _sessions.seconds)
        .where(_sessions.public_id == public_id)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise _unknown(public_id)
    total = dict(row.seconds or {})
    for phase, more in seconds.items():
        total[phase] = total.get(phase, 0.0) + float(more)
    connection.execute(update(_sessions).where(_sessions.id == row.id).values(seconds=total))


def claim(connection: Connection, public_id: str) -> Row[int, int, int, int]:
    """The session's keys, and its turn to write: on PostgreSQL two writers would take the same
    positions."""
    row = connection.execute(_CLAIM, {"public_id": public_id}).one_or_none()
    if row is None:
        raise _unknown(public_id)
    return row


def touch(connection: Connection, session_id: int) -> None:
    """Something was written: the session moved on, and lives if it was its own process that wrote
    (trials of one that lost it meanwhile are kept all the same)."""
    me = this_process()
    connection.execute(
        _TOUCH,
        {
            "session_id": session_id,
            "now": datetime.now(UTC),
            "pid": me.pid,
            "started": me.started,
            "machine": me.machine,
        },
    )


def info(connection: Connection, public_id: str) -> SessionInfo:
    return as_info(_row(connection, public_id))


def internal_id(connection: Connection, public_id: str) -> int:
    row_id = connection.scalar(select(_sessions.id).where(_sessions.public_id == public_id))
    if row_id is None:
        raise _unknown(public_id)
    return row_id


def query() -> Select[Any]:
    """Sessions with what `as_info` wants to know."""
    trials, tasks, reuses = schema.Trial, schema.Task, schema.Reuse
    # Through tasks, so that ix_trials_task answers without the rows.
    done = (
        select(func.count())
        .select_from(tasks)
        .join(trials, trials.task_id == tasks.id)
        .where(tasks.session_id == _sessions.id)
    )
    reused = (
        select(func.count())
        .select_from(tasks)
        .join(reuses, reuses.task_id == tasks.id)
        .where(tasks.session_id == _sessions.id)
    )
    return (
        select(
            _sessions,
            schema.Model.name.label("model_name"),
            schema.Target.canonical_json.label("target_json"),
            schema.Host.fingerprint.label("host_fingerprint"),
            schema.Toolchain.key.label("toolchain_key"),
            done.scalar_subquery().label("trials_done"),
            done.where(trials.failure_kind.is_not(None)).scalar_subquery().label("failures"),
            reused.scalar_subquery().label("reused"),
        )
        .join(schema.Model, isouter=True)
        .join(schema.Target)
        .join(schema.Host)
        .join(schema.Toolchain)
    )


def _row(connection: Connection, public_id: str, *, lock: bool = False) -> Row[Any]:
    if lock:  # nothing on SQLite, where the writing transaction is alone anyway
        connection.execute(
            select(_sessions.id).where(_sessions.public_id == public_id).with_for_update()
        )
    row = connection.execute(query().where(_sessions.public_id == public_id)).one_or_none()
    if row is None:
        raise _unknown(public_id)
    return row


def _unknown(public_id: str) -> CatalogueError:
    return CatalogueError(f"there is no session {public_id!r} in this catalogue")


def _owner(row: Row[Any]) -> Owner:
    return Owner(row.owner_pid, row.owner_started, row.owner_machine)


def _mine() -> ColumnElement[bool]:
    me = this_process()
    return and_(
        _sessions.owner_pid == me.pid,
        _sessions.owner_started == me.started,
        _sessions.owner_machine == me.machine,
    )


def _claimed(now: datetime) -> dict[str, Any]:
    me = this_process()
    return {
        "owner_pid": me.pid,
        "owner_started": me.started,
        "owner_machine": me.machine,
        "heartbeat_at": now,
        "updated_at": now,
    }


def as_info(row: Row[Any]) -> SessionInfo:
    """A row of `query`; one whose process died without saying so is interrupted."""
    state: SessionState = row.state
    if state == "running" and not _owner(row).lives(row.heartbeat_at):
        state = "interrupted"
    return SessionInfo(
        id=row.public_id,
        name=row.name,
        state=state,
        origin=row.origin,
        recipe_yaml=row.recipe_yaml,
        recipe_digest=row.recipe_digest,
        model_name=row.model_name,
        target_json=row.target_json,
        host_fingerprint=row.host_fingerprint,
        budget_trials=row.budget_trials,
        trials_done=row.trials_done,
        failures=row.failures,
        reused=row.reused,
        seed=row.seed,
        pid=row.owner_pid,
        created_at=row.created_at,
        updated_at=row.updated_at,
        heartbeat_at=row.heartbeat_at,
        seconds=dict(row.seconds or {}),
        toolchain_key=row.toolchain_key,
    )
