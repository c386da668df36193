"""Benchmarks: kept whole, listed by what they came to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select

from tunekit.catalogue.db import schema
from tunekit.catalogue.entries import BenchRun, BenchRunInfo, NewBenchRun
from tunekit.catalogue.queries import keys
from tunekit.errors import CatalogueError

_runs = schema.BenchRun

# The samples stay where they are: a list needs no more than the verdict.
_INFO = (
    _runs.id,
    _runs.name,
    _runs.measured_at,
    _runs.recipe_digest,
    schema.Host.fingerprint,
    schema.Host.cpu_name,
    _runs.results["verdict"].as_string().label("verdict"),
)


def add(connection: Connection, new: NewBenchRun) -> int:
    return connection.execute(
        insert(_runs)
        .values(
            library_id=new.library_id,
            host_id=keys.host(connection, new.host_fingerprint, new.host),
            toolchain_id=keys.toolchain(connection, new.toolchain),
            name=new.name,
            recipe_digest=new.recipe_digest,
            environment=dict(new.environment),
            results=dict(new.results),
            measured_at=new.measured_at,
        )
        .returning(_runs.id)
    ).scalar_one()


def listed(
    connection: Connection,
    *,
    limit: int | None,
    name: str | None,
    recipe_digest: str | None,
    host_fingerprint: str | None,
    session_id: str | None = None,
) -> list[BenchRunInfo]:
    """The runs of which all of this is true, newest first."""
    query: Select[Any] = select(*_INFO).join(schema.Host, schema.Host.id == _runs.host_id)
    if name is not None:
        query = query.where(_runs.name == name)
    if recipe_digest is not None:
        query = query.where(_runs.recipe_digest == recipe_digest)
    if host_fingerprint is not None:
        query = query.where(schema.Host.fingerprint == host_fingerprint)
    if session_id is not None:
        libraries = (
            select(schema.Library.id)
            .join(schema.Session, schema.Session.id == schema.Library.session_id)
            .where(schema.Session.public_id == session_id)
        )
        query = query.where(_runs.library_id.in_(libraries))
    ordered = query.order_by(_runs.measured_at.desc(), _runs.id.desc()).limit(limit)
    return [_info(row) for row in connection.execute(ordered)]


def get(connection: Connection, run_id: int) -> BenchRun:
    row = connection.execute(
        select(
            *_INFO,
            _runs.environment,
            _runs.results,
            schema.Host.description,
            schema.Toolchain.versions,
            schema.Library.path,
        )
        .join(schema.Host, schema.Host.id == _runs.host_id)
        .join(schema.Toolchain, schema.Toolchain.id == _runs.toolchain_id)
        .join(schema.Library, schema.Library.id == _runs.library_id, isouter=True)
        .where(_runs.id == run_id)
    ).one_or_none()
    if row is None:
        raise CatalogueError(
            f"there is no benchmark {run_id} in this catalogue",
            hint="`tunekit bench --history` lists them",
        )
    return BenchRun(
        info=_info(row),
        host=row.description,
        toolchain=row.versions,
        environment=row.environment,
        results=row.results,
        library=row.path,
    )


def _info(row: Row[Any]) -> BenchRunInfo:
    return BenchRunInfo(
        id=row.id,
        name=row.name,
        measured_at=row.measured_at,
        recipe_digest=row.recipe_digest,
        host_fingerprint=row.fingerprint,
        cpu_name=row.cpu_name,
        verdict=row.verdict,
    )
