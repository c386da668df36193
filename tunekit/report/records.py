"""Records in lists and one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.catalogue.listing import BestRecord, ListedRecord, target_text
from tunekit.report.listing import Column, Row, as_csv, as_json, moment, table
from tunekit.report.numbers import milliseconds, significant

if TYPE_CHECKING:
    from tunekit.catalogue.merge import Merged
    from tunekit.catalogue.upkeep import Facts

_COLUMNS = (
    Column("id", lambda row: str(row["id"]), right=True),
    Column("operator", lambda row: str(row["operator"]), most=44),
    Column("ms", lambda row: milliseconds(1000 * row["mean_s"]), right=True),
    Column("GFLOP/s", lambda row: "-" if not row["gflops"] else significant(row["gflops"]), True),
    Column("target", lambda row: row["target"].replace("llvm -mcpu=", ""), most=28),
    Column("host", lambda row: row["host"][:8]),
    Column("session", lambda row: row["session"]),
    Column("measured", lambda row: moment(row["measured_at"])),
)
_BEST_COLUMNS = (
    *_COLUMNS[:4],
    Column("final ms", lambda row: _final(row), right=True),
    Column("of", lambda row: str(row["records"]), right=True),
    *_COLUMNS[4:],
)
_KEYS = (
    "id",
    "operator",
    "structural_hash",
    "mean_s",
    "run_seconds",
    "gflops",
    "final_s",
    "model",
    "recipe",
    "session",
    "origin",
    "target",
    "host",
    "cpu",
    "toolchain",
    "measured_at",
)


def record_row(record: ListedRecord) -> dict[str, Any]:
    """A record as plain values; seconds and UTC moments."""
    return {
        "id": record.trial_id,
        "operator": record.operator,
        "structural_hash": record.structural_hash,
        "mean_s": record.mean_s,
        "run_seconds": list(record.run_seconds),
        "gflops": record.gflops,
        "final_s": record.winner_s,
        "model": record.model_name,
        "recipe": record.session_name,
        "session": record.session_id,
        "origin": record.origin,
        "target": target_text(record.target_json),
        "host": record.host_fingerprint,
        "cpu": record.cpu_name,
        "toolchain": record.toolchain_key,
        "measured_at": record.measured_at,
    }


def records_text(records: Sequence[ListedRecord], form: str) -> str:
    """A list of records as "table", "json" or "csv"."""
    return _written(_COLUMNS, _KEYS, [record_row(record) for record in records], form)


def best_text(found: Sequence[BestRecord], form: str) -> str:
    """The best records, each with how many it is the best of."""
    rows = [{**record_row(one.record), "records": one.records} for one in found]
    return _written(_BEST_COLUMNS, (*_KEYS, "records"), rows, form)


def record_text(record: ListedRecord, form: str, *, module: str, trace: str | None) -> str:
    """Everything about one record; `trace` is its schedule as Python, `module` its workload."""
    row: dict[str, Any] = {
        **record_row(record),
        "candidate": record.candidate_digest,
        "measure_options": record.measure_options,
    }
    if trace is not None:
        row |= {"schedule": trace, "module": module}
    if form == "json":
        return as_json(row)
    if form == "csv":
        return as_csv(list(row), [row])
    options = ", ".join(f"{key} {value}" for key, value in record.measure_options.items())
    lines = [
        ("record", str(record.trial_id)),
        ("operator", record.operator),
        ("workload", record.structural_hash),
        ("runs", ", ".join(f"{milliseconds(1000 * s)} ms" for s in record.run_seconds)),
        ("ranks with", f"{milliseconds(1000 * record.mean_s)} ms{_speed(record)}"),
        ("final", f"{milliseconds(1000 * record.winner_s)} ms, won" if record.winner_s else "-"),
        ("model", record.model_name or "-"),
        ("recipe", record.session_name),
        ("session", f"{record.session_id} ({record.origin})"),
        ("target", target_text(record.target_json)),
        ("host", f"{record.host_fingerprint} {record.cpu_name}".strip()),
        ("toolchain", record.toolchain_key),
        ("measured", f"{moment(record.measured_at)}{f' ({options})' if options else ''}"),
        ("candidate", record.candidate_digest),
    ]
    text = "".join(f"{name:<11} {value}\n" for name, value in lines)
    if trace is not None:
        text += f"\n# the workload\n{module.strip()}\n\n# its schedule\n{trace.strip()}\n"
    return text


def facts_text(facts: Facts, form: str) -> str:
    """What a catalogue holds."""
    row: dict[str, Any] = {
        "place": facts.place,
        "backend": facts.backend,
        "revision": facts.revision,
        "size_bytes": facts.size_bytes,
        "free_bytes": facts.free_bytes,
        "records": facts.records,
        "failures": facts.failures,
        **facts.rows,
    }
    if form == "json":
        return as_json(row)
    if form == "csv":
        return as_csv(list(row), [row])
    free = f", {_size(facts.free_bytes)} of it free" if facts.free_bytes else ""
    lines = [
        ("catalogue", facts.place),
        ("schema", f"revision {facts.revision}, {facts.backend}"),
        ("size", f"{_size(facts.size_bytes)}{free}"),
        ("trials", f"{facts.records + facts.failures:,}: {facts.records:,} records, "
                   f"{facts.failures:,} failures"),
        *((name.replace("_", " "), f"{count:,}") for name, count in facts.rows.items()),
    ]  # fmt: skip
    return "".join(f"{name:<11} {value}\n" for name, value in lines)


def merged_text(merged: Merged) -> str:
    """What was new, in a line."""
    if merged.nothing:
        return "nothing new: all of it is here already"
    parts = [
        _counted(merged.trials, "trial"),
        _counted(merged.sessions, "session"),
        _counted(merged.winners, "final"),
        _counted(merged.reuses, "reuse"),
        _counted(merged.libraries, "library", "libraries"),
        _counted(merged.bench_runs, "benchmark run"),
    ]
    return "new: " + ", ".join(part for part in parts if not part.startswith("0 "))


def _counted(count: int, one: str, several: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def _written(columns: Sequence[Column], keys: Sequence[str], rows: Sequence[Row], form: str) -> str:
    if form == "json":
        return as_json(list(rows))
    if form == "csv":
        return as_csv(keys, rows)
    return table(columns, rows)


def _final(row: Row) -> str:
    return "-" if row["final_s"] is None else milliseconds(1000 * row["final_s"])


def _speed(record: ListedRecord) -> str:
    return f", {significant(record.gflops)} GFLOP/s" if record.gflops else ""


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
