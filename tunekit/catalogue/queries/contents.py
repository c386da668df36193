"""What is needed to replay records: traces, and the modules of their workloads."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from tunekit.catalogue.db import schema
from tunekit.catalogue.queries.filters import RecordFilter, condition

_trials = schema.Trial


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


def contents(
    connection: Connection, record_filter: RecordFilter, *, after: int, limit: int
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
        .where(condition(connection, record_filter), _trials.id > after)
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


def module_json(connection: Connection, workload_id: int) -> str:
    """A workload's module as it was saved."""
    text: str = connection.execute(
        select(schema.Workload.module_json).where(schema.Workload.id == workload_id)
    ).scalar_one()
    return text


def trace_json(connection: Connection, trial_id: int) -> tuple[str, str]:
    """A trial's trace and its workload's module."""
    row = connection.execute(
        select(_trials.trace_json, schema.Workload.module_json)
        .join(schema.Workload, schema.Workload.id == _trials.workload_id)
        .where(_trials.id == trial_id)
    ).one()
    return row.trace_json, row.module_json
