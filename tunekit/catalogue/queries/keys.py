"""Finding rows by their natural keys, and making those that are not there yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, exists, select, update

from tunekit.catalogue.canonical_json import canonical_json, digest
from tunekit.catalogue.conditions import Conditions
from tunekit.catalogue.db import schema
from tunekit.catalogue.entries import NewWorkload, toolchain_key

if TYPE_CHECKING:
    pass


#: Values in one statement; databases take a limited number of parameters.
CHUNK = 500

_FIND_OPTIONS = select(schema.MeasureOptions.id).where(
    schema.MeasureOptions.digest == bindparam("digest")
)


def find_or_add(
    connection: Connection, table: type[schema.Base], key: Mapping[str, Any], /, **values: Any
) -> int:
    """The id of the row with this unique key; added with `values` if there is none. Safe against
    another process that adds the same at the same time."""
    rows = table.__table__
    find = select(rows.c.id).where(*(rows.c[name] == value for name, value in key.items()))
    row_id = connection.scalar(find)
    if row_id is None:
        insert = _insert(connection)
        connection.execute(insert(table).values(**key, **values).on_conflict_do_nothing())
        row_id = connection.scalar(find)
    assert row_id is not None
    return int(row_id)


def _insert(connection: Connection) -> Any:
    """The INSERT that knows ON CONFLICT; the other database's module is not loaded for nothing."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert
    from sqlalchemy.dialects import sqlite

    return sqlite.insert


def host(connection: Connection, fingerprint: str, description: Mapping[str, Any]) -> int:
    plain = _json(description)
    return find_or_add(
        connection,
        schema.Host,
        {"fingerprint": fingerprint},
        cpu_name=str(plain.get("cpu_name", "")),
        cores=plain.get("cores"),
        memory_bytes=plain.get("memory_bytes"),
        features=list(plain.get("features") or ()),
        description=plain,
    )


def toolchain(connection: Connection, versions: Mapping[str, str]) -> int:
    return find_or_add(
        connection,
        schema.Toolchain,
        {"digest": digest(canonical_json(versions))},
        key=toolchain_key(versions),
        versions=dict(versions),
    )


def target(connection: Connection, canonical: str) -> int:
    return find_or_add(
        connection, schema.Target, {"digest": digest(canonical)}, canonical_json=canonical
    )


def model(connection: Connection, model_digest: str, name: str) -> int:
    return find_or_add(connection, schema.Model, {"digest": model_digest}, name=name)


def workload(connection: Connection, new: NewWorkload) -> int:
    return find_or_add(
        connection,
        schema.Workload,
        {"structural_hash": new.structural_hash, "content_digest": new.content_digest},
        name=new.name,
        preparation=new.preparation,
        module_json=new.module_json,
    )


def name_workload(connection: Connection, workload_id: int, name: str) -> None:
    """Gives a workload its name for people, where it had no more than a task's: TVM's."""
    workloads, tasks = schema.Workload, schema.Task
    of_task = exists().where(tasks.workload_id == workloads.id, tasks.name == workloads.name)
    connection.execute(
        update(workloads)
        .where(workloads.id == workload_id, workloads.name != name, of_task)
        .values(name=name)
    )


def has_workload(connection: Connection, structural_hash: str) -> bool:
    workloads = schema.Workload
    query = select(workloads.id).where(workloads.structural_hash == structural_hash).limit(1)
    return connection.scalar(query) is not None


def measure_options(connection: Connection, options: Mapping[str, Any]) -> int:
    options_digest = digest(canonical_json(options))
    row_id = connection.scalar(_FIND_OPTIONS, {"digest": options_digest})
    if row_id is not None:
        return row_id
    return find_or_add(
        connection, schema.MeasureOptions, {"digest": options_digest}, options=_json(options)
    )


def options_with(connection: Connection, part: Mapping[str, Any]) -> list[int]:
    """The measuring options of which all of these are part."""
    plain = _json(part)
    rows = connection.execute(select(schema.MeasureOptions.id, schema.MeasureOptions.options))
    return [row.id for row in rows if plain.items() <= row.options.items()]


def target_id(connection: Connection, canonical: str) -> int | None:
    return connection.scalar(
        select(schema.Target.id).where(schema.Target.digest == digest(canonical))
    )


def host_id(connection: Connection, fingerprint: str) -> int | None:
    return connection.scalar(select(schema.Host.id).where(schema.Host.fingerprint == fingerprint))


def under(connection: Connection, conditions: Conditions) -> tuple[ColumnElement[bool], ...]:
    """What a trial measured under these conditions, with the caches in any state, fulfils; the
    statement joins the toolchains."""
    return (
        schema.Trial.target_id == target_id(connection, conditions.target),
        schema.Trial.host_id == host_id(connection, conditions.host),
        schema.Toolchain.key == conditions.toolchain,
    )


def in_chunks(
    connection: Connection,
    query: Select[*tuple[Any, ...]],
    column: Any,
    values: Sequence[Any],
) -> list[Row[Any]]:
    """The rows of `query` whose `column` is among `values`, however many there are (a statement
    takes a limited number of parameters)."""
    rows: list[Row[Any]] = []
    for start in range(0, len(values), CHUNK):
        rows += connection.execute(query.where(column.in_(values[start : start + CHUNK])))
    return rows


def _json(value: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON makes of it: tuples and sets as lists."""
    plain: dict[str, Any] = json.loads(canonical_json(value))
    return plain
