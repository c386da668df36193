"""Records: the replayable good trials, best first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from heapq import nsmallest
from typing import Any

from sqlalchemy import Connection, Integer, Row, bindparam, func, insert, select

from tunekit.catalogue.canonical_json import digest
from tunekit.catalogue.conditions import Conditions
from tunekit.catalogue.db import schema
from tunekit.catalogue.entries import Record
from tunekit.catalogue.queries import keys

_trials = schema.Trial
# Of a workload's records, as many as are looked through for one that overtook the last winner.
_CHALLENGERS = 16


@cache
def _best(host: bool, toolchain: bool, options: bool, limited: bool) -> Any:
    """The good trials of one workload on one target, best first; built once for each combination,
    as building a statement takes longer than SQLite needs to carry it out.

    One short index range per workload. A window function over all of them would read every good
    trial of each workload to rank them; this reads as many as it gives.
    """
    query: Any = (
        select(
            _trials.id,
            _trials.trace_json,
            _trials.samples_s,
            _trials.score_s,
            _trials.measured_at,
            schema.Host.fingerprint,
        )
        .join(schema.Host, schema.Host.id == _trials.host_id)
        .where(
            _trials.workload_id == bindparam("workload_id"),
            _trials.target_id
            == select(schema.Target.id)
            .where(schema.Target.digest == bindparam("target"))
            .scalar_subquery(),
            _trials.score_s.is_not(None),
        )
        .order_by(_trials.score_s)
    )
    if host:
        host_id = select(schema.Host.id).where(schema.Host.fingerprint == bindparam("host"))
        query = query.where(_trials.host_id == host_id.scalar_subquery())
    if toolchain:
        compatible = select(schema.Toolchain.id).where(
            schema.Toolchain.key == bindparam("toolchain")
        )
        query = query.where(_trials.toolchain_id.in_(compatible))
    if options:
        query = query.where(
            _trials.measure_options_id.in_(bindparam("options", expanding=True, type_=Integer))
        )
    return query.limit(bindparam("top_k", type_=Integer)) if limited else query


def best(
    connection: Connection,
    *,
    structural_hashes: Iterable[str] | None,
    target_json: str,
    host_fingerprint: str | None,
    toolchain_key: str | None,
    measured_with: Mapping[str, Any] | None,
    top_k: int | None,
) -> list[Record]:
    query = _best(
        host_fingerprint is not None,
        toolchain_key is not None,
        measured_with is not None,
        top_k is not None,
    )
    conditions: dict[str, Any] = {
        "target": digest(target_json),
        "host": host_fingerprint,
        "toolchain": toolchain_key,
        "top_k": top_k,
    }
    if measured_with is not None:
        conditions["options"] = keys.options_with(connection, measured_with)
    records: list[Record] = []
    for structural_hash, workloads in _workloads(connection, structural_hashes).items():
        matches: list[tuple[Row[Any], str]] = []
        for workload_id, module_json in workloads:
            rows: Iterable[Row[Any]] = connection.execute(
                query, {**conditions, "workload_id": workload_id}
            )
            matches += [(row, module_json) for row in rows]
        # More than one workload only where a hash collides or a module was saved in two ways.
        chosen = (
            sorted(matches, key=_mean) if top_k is None else nsmallest(top_k, matches, key=_mean)
        )
        records += [
            Record(
                trial_id=row.id,
                structural_hash=structural_hash,
                module_json=module_json,
                trace_json=row.trace_json,
                samples_s=tuple(row.samples_s),
                score_s=row.score_s,
                target_json=target_json,
                host_fingerprint=row.fingerprint,
                measured_at=row.measured_at,
            )
            for row, module_json in chosen
        ]
    return records


def best_under(
    connection: Connection,
    conditions: Conditions,
    structural_hashes: Iterable[str],
    top_k: int,
) -> list[Record]:
    return best(
        connection,
        structural_hashes=structural_hashes,
        target_json=conditions.target,
        host_fingerprint=conditions.host,
        toolchain_key=conditions.toolchain,
        measured_with=conditions.measured_with,
        top_k=top_k,
    )


def add_winner(connection: Connection, trial_id: int, samples_s: Sequence[float]) -> None:
    connection.execute(
        insert(schema.Winner).values(
            trial_id=trial_id,
            samples_s=list(samples_s),
            best_s=min(samples_s),
            decided_at=datetime.now(UTC),
        )
    )


def winners(
    connection: Connection, conditions: Conditions, structural_hashes: Iterable[str]
) -> list[Record]:
    winner = schema.Winner
    query = (
        select(
            _trials.id,
            _trials.trace_json,
            winner.samples_s,
            winner.best_s,
            winner.decided_at,
        )
        .join(_trials, _trials.id == winner.trial_id)
        .join(schema.Toolchain, schema.Toolchain.id == _trials.toolchain_id)
        .where(
            *keys.under(connection, conditions),
        )
        .order_by(winner.id.desc())
        .limit(1)
    )
    if conditions.measured_with is not None:
        options = keys.options_with(connection, conditions.measured_with)
        query = query.where(_trials.measure_options_id.in_(options))
    records: list[Record] = []
    for structural_hash, workloads in _workloads(connection, structural_hashes).items():
        for workload_id, module_json in workloads:
            row = connection.execute(query.where(_trials.workload_id == workload_id)).first()
            if row is not None:
                records.append(
                    Record(
                        trial_id=row.id,
                        structural_hash=structural_hash,
                        module_json=module_json,
                        trace_json=row.trace_json,
                        samples_s=tuple(row.samples_s),
                        score_s=row.best_s,
                        target_json=conditions.target,
                        host_fingerprint=conditions.host,
                        measured_at=row.decided_at,
                    )
                )
                break
    return records


def to_compile(
    connection: Connection, conditions: Conditions, structural_hashes: Iterable[str]
) -> list[Record]:
    hashes = list(dict.fromkeys(structural_hashes))
    chosen: dict[str, Record] = {}
    # Seconds with other caches decide nothing but what would have no record otherwise.
    for narrowed in dict.fromkeys((conditions, replace(conditions, cpu_cache=None))):
        missing = [structural_hash for structural_hash in hashes if structural_hash not in chosen]
        if missing:
            chosen |= _decided_or_faster(connection, narrowed, missing)
    return [chosen[structural_hash] for structural_hash in hashes if structural_hash in chosen]


def _decided_or_faster(
    connection: Connection, conditions: Conditions, structural_hashes: Sequence[str]
) -> dict[str, Record]:
    """The winner of each workload's latest final, or what was faster since."""
    decided = {
        winner.structural_hash: winner
        for winner in winners(connection, conditions, structural_hashes)
    }
    challengers = best_under(connection, conditions, structural_hashes, _CHALLENGERS)
    chosen: dict[str, Record] = {}
    for record in challengers:
        winner = decided.get(record.structural_hash)
        # What was measured before the final has had its chance there.
        challenges = winner is None or (
            record.measured_at > winner.measured_at and record.score_s < winner.score_s
        )
        if challenges:
            chosen.setdefault(record.structural_hash, record)
    return decided | chosen


def count(connection: Connection, conditions: Conditions) -> int:
    return connection.execute(
        select(func.count())
        .select_from(_trials)
        .join(schema.Toolchain, schema.Toolchain.id == _trials.toolchain_id)
        .where(*keys.under(connection, conditions), _trials.score_s.is_not(None))
    ).scalar_one()


def _mean(match: tuple[Row[Any], str]) -> float:
    return float(match[0].score_s)


def _workloads(
    connection: Connection, structural_hashes: Iterable[str] | None
) -> dict[str, list[tuple[int, str]]]:
    """Per hash, in the order asked for, the workloads as (id, module JSON)."""
    workloads = schema.Workload
    query = select(workloads.structural_hash, workloads.id, workloads.module_json)
    grouped: dict[str, list[tuple[int, str]]] = {}
    if structural_hashes is None:
        rows: Iterable[Any] = connection.execute(query.order_by(workloads.id))
    else:
        grouped = {structural_hash: [] for structural_hash in structural_hashes}
        rows = keys.in_chunks(connection, query, workloads.structural_hash, list(grouped))
    for row in rows:
        grouped.setdefault(row.structural_hash, []).append((row.id, row.module_json))
    return grouped
