"""Records in lists and one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.catalogue.queries.listing import BestRecord, ListedRecord, target_text
from tunekit.report.listing import Column, Row, as_csv, as_json, moment, table
from tunekit.report.numbers import milliseconds, significant

if TYPE_CHECKING:
    from tunekit.catalogue.db.maintenance import Facts
    from tunekit.catalogue.queries.merge import Merged
    from tunekit.interchange.exporting import ExportReport
    from tunekit.interchange.importing import ImportReport

_COLUMNS = (
    Column("id", lambda row: str(row["id"]), right=True),
    Column("operator", lambda row: str(row["operator"]), most=44),
    Column("ms", lambda row: milliseconds(1000 * row["score_s"]), right=True),
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
# Bad lines told one by one; all of them are in the quarantine's file.
_SHOWN_BAD = 10
_KEYS = (
    "id",
    "operator",
    "structural_hash",
    "score_s",
    "samples_s",
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
        "score_s": record.score_s,
        "samples_s": list(record.samples_s),
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
        ("runs", ", ".join(f"{milliseconds(1000 * s)} ms" for s in record.samples_s)),
        ("ranks with", f"{milliseconds(1000 * record.score_s)} ms{_speed(record)}"),
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
        "place": facts.location,
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
        ("catalogue", facts.location),
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


def export_text(report: ExportReport, form: str) -> str:
    """What was written where, and what was left out."""
    rows = [
        {
            "folder": str(folder.path),
            "records": folder.records,
            "workloads": folder.workloads,
            "target": target_text(folder.target_json),
            "host": folder.host_fingerprint,
        }
        for folder in report.folders
    ]
    if form == "json":
        return as_json(
            {
                "folders": rows,
                "failures": report.failures,
                "slower": report.slower,
                "unwritable": [
                    {"id": record, "reason": reason} for record, reason in report.unwritable
                ],
            }
        )
    if form == "csv":
        return as_csv(("folder", "records", "workloads", "target", "host"), rows)
    text = "".join(
        f"{folder.path}: {_counted(folder.records, 'record')} of "
        f"{_counted(folder.workloads, 'workload')} for {target_text(folder.target_json)}\n"
        for folder in report.folders
    )
    left = [
        _counted(report.failures, "failure"),
        _counted(report.slower, "slower record"),
        _counted(len(report.unwritable), "record", "records") + " that TVM cannot write",
    ]
    left = [part for part in left if not part.startswith("0 ")]
    return text + (f"left out: {', '.join(left)}\n" if left else "")


def import_text(report: ImportReport, form: str, *, measured_on: str) -> str:
    """What became of a folder's lines."""
    bad = [
        {"file": line.file, "line": line.line, "reason": line.reason, "failed": line.failed}
        for line in report.bad
    ]
    if form == "json":
        return as_json(
            {
                "records": report.records,
                "added": report.added,
                "known": report.known,
                "failed": report.failed,
                "damaged": report.damaged,
                "sessions": [
                    {"session": session, "target": target_text(target)}
                    for target, session in report.sessions.items()
                ],
                "quarantine": None if report.quarantine is None else str(report.quarantine),
                "bad": bad,
            }
        )
    if form == "csv":
        return as_csv(("file", "line", "reason", "failed"), bad)
    parts = [f"{report.added:,} new"]
    parts += [f"{report.known:,} here already"] if report.known else []
    parts += [f"{report.failed:,} failed when measured"] if report.failed else []
    lines = [f"{_counted(report.records, 'record')}: {', '.join(parts)}"]
    for target, session in report.sessions.items():
        lines.append(f"session {session}: for {target_text(target)}")
    if report.damaged:
        lines.append(f"{_counted(report.damaged, 'line')} cannot be used:")
        damaged = [line for line in report.bad if not line.failed]
        lines += [f"  {line.file}:{line.line}: {line.reason}" for line in damaged[:_SHOWN_BAD]]
        if len(damaged) > _SHOWN_BAD:
            lines.append(f"  and {len(damaged) - _SHOWN_BAD:,} more")
    if report.quarantine is not None:
        lines.append(f"bad lines, with reasons: {report.quarantine}")
    if report.added and measured_on == "unknown":
        lines.append(
            "their host is unknown: listed and exported, but not applied here; import again with "
            "--host this if this machine, or one just like it, measured them"
        )
    return "\n".join(lines) + "\n"


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
