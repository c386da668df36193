"""Records in lists and each by itself; what a catalogue holds, and what went in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunekit.catalogue.queries.filters import target_text
from tunekit.catalogue.queries.listing import BestRecord, ListedRecord
from tunekit.report.numbers import milliseconds, moment, significant, size
from tunekit.report.output import Result, as_json, rows_result
from tunekit.report.table import Column, as_csv, facts, fields, number
from tunekit.wording import counted

if TYPE_CHECKING:
    from rich.text import Text

    from tunekit.catalogue.db.maintenance import Facts
    from tunekit.catalogue.queries.merge import Merged
    from tunekit.interchange.exporting import ExportReport
    from tunekit.interchange.importing import ImportReport

Row = Mapping[str, Any]

_COLUMNS: tuple[Column[Row], ...] = (
    number("id", lambda row: row["id"]),
    Column("operator", lambda row: row["operation"], elide=True),
    number("ms", lambda row: milliseconds(1000 * row["score_s"])),
    number("GFLOP/s", lambda row: "-" if not row["gflops"] else significant(row["gflops"])),
    Column("target", lambda row: row["target"].replace("llvm -mcpu=", ""), priority=3, elide=True),
    Column("host", lambda row: row["host"][:8], priority=2),
    Column("session", lambda row: row["session"], priority=1),
    Column("measured", lambda row: moment(row["measured_at"])),
)
_BEST_COLUMNS: tuple[Column[Row], ...] = (
    *_COLUMNS[:4],
    number("final ms", lambda row: _final(row)),
    number("of", lambda row: row["records"]),
    *_COLUMNS[4:],
)
# Bad lines told one by one; all of them are in the quarantine's file.
_SHOWN_BAD = 10
_KEYS = (
    "id",
    "operator",
    "operation",
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
        "operation": record.operation or record.operator,
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


def records_result(records: Sequence[ListedRecord]) -> Result:
    """A list of records."""
    rows = [record_row(record) for record in records]
    return rows_result(_COLUMNS, rows, _KEYS, rows)


def best_result(best: Sequence[BestRecord]) -> Result:
    """The best records, each with how many it is the best of."""
    rows = [{**record_row(entry.record), "records": entry.records} for entry in best]
    return rows_result(_BEST_COLUMNS, rows, (*_KEYS, "records"), rows)


def record_result(record: ListedRecord, *, module: str, trace: str | None) -> Result:
    """Everything about one record; `trace` is its schedule as Python, `module` its workload."""
    row: dict[str, Any] = {
        **record_row(record),
        "candidate": record.candidate_digest,
        "measure_options": record.measure_options,
    }
    source = ""
    if trace is not None:
        row |= {"schedule": trace, "module": module}
        source = f"\n\n# the workload\n{module.strip()}\n\n# its schedule\n{trace.strip()}"
    return _one(row, lambda: facts(_record_facts(record)) + source)


def _record_facts(record: ListedRecord) -> dict[str, str]:
    options = ", ".join(f"{key} {value}" for key, value in record.measure_options.items())
    return {
        "record": str(record.trial_id),
        "operator": record.operation or record.operator,
        "task": record.operator,
        "workload": record.structural_hash,
        "runs": ", ".join(f"{milliseconds(1000 * s)} ms" for s in record.samples_s),
        "ranks with": f"{milliseconds(1000 * record.score_s)} ms{_speed(record)}",
        "final": f"{milliseconds(1000 * record.winner_s)} ms, won" if record.winner_s else "-",
        "model": record.model_name or "-",
        "recipe": record.session_name,
        "session": f"{record.session_id} ({record.origin})",
        "target": target_text(record.target_json),
        "host": f"{record.host_fingerprint} {record.cpu_name}".strip(),
        "toolchain": record.toolchain_key,
        "measured": f"{moment(record.measured_at)}{f' ({options})' if options else ''}",
        "candidate": record.candidate_digest,
    }


def facts_result(catalogue: Facts) -> Result:
    """What a catalogue holds."""
    row: dict[str, Any] = {
        "place": catalogue.location,
        "backend": catalogue.backend,
        "revision": catalogue.revision,
        "size_bytes": catalogue.size_bytes,
        "free_bytes": catalogue.free_bytes,
        "records": catalogue.records,
        "failures": catalogue.failures,
        **catalogue.rows,
    }
    free = f", {size(catalogue.free_bytes)} of it free" if catalogue.free_bytes else ""
    trials = catalogue.records + catalogue.failures
    pairs = {
        "catalogue": catalogue.location,
        "schema": f"revision {catalogue.revision}, {catalogue.backend}",
        "size": f"{size(catalogue.size_bytes)}{free}",
        "trials": f"{trials:,}: {counted(catalogue.records, 'record')}, "
        f"{counted(catalogue.failures, 'failure')}",
        **{name.replace("_", " "): f"{count:,}" for name, count in catalogue.rows.items()},
    }
    return _one(row, lambda: facts(pairs))


def soundness_result(location: str, problems: Sequence[str]) -> Result:
    """What is damaged in a catalogue, a line each."""
    value = {"place": location, "sound": not problems, "problems": list(problems)}
    return Result(
        table=lambda _: "\n".join(problems) or f"{location} is sound",
        json=lambda: as_json(value),
        csv=lambda: as_csv(fields(["problem"]), [{"problem": line} for line in problems]),
    )


def _one(row: dict[str, Any], text: Callable[[], Text]) -> Result:
    return Result(
        table=lambda _: text(),
        json=lambda: as_json(row),
        csv=lambda: as_csv(fields(list(row)), [row]),
    )


def merged_text(merged: Merged) -> str:
    """What was new, in a line."""
    if merged.nothing:
        return "nothing new: all of it is here already"
    counts = _nonzero(
        counted(merged.trials, "trial"),
        counted(merged.sessions, "session"),
        counted(merged.winners, "final"),
        counted(merged.reuses, "reuse"),
        counted(merged.libraries, "library", "libraries"),
        counted(merged.bench_runs, "benchmark run"),
    )
    return f"new: {counts}"


def export_result(report: ExportReport) -> Result:
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
    value = {
        "folders": rows,
        "failures": report.failures,
        "slower": report.slower,
        "unwritable": [{"id": record, "reason": reason} for record, reason in report.unwritable],
    }
    keys = ("folder", "records", "workloads", "target", "host")
    return Result(
        table=lambda _: _exported(report),
        json=lambda: as_json(value),
        csv=lambda: as_csv(fields(keys), rows),
    )


def _exported(report: ExportReport) -> str:
    lines = [
        f"{folder.path}: {counted(folder.records, 'record')} of "
        f"{counted(folder.workloads, 'workload')} for {target_text(folder.target_json)}"
        for folder in report.folders
    ]
    left = _nonzero(
        counted(report.failures, "failure"),
        counted(report.slower, "slower record"),
        counted(len(report.unwritable), "record") + " that TVM cannot write",
    )
    return "\n".join([*lines, *([f"left out: {left}"] if left else [])])


def import_result(report: ImportReport, *, measured_on: str) -> Result:
    """What became of a folder's lines."""
    bad = [
        {"file": line.file, "line": line.line, "reason": line.reason, "failed": line.failed}
        for line in report.bad
    ]
    value = {
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
    return Result(
        table=lambda _: _imported(report, measured_on),
        json=lambda: as_json(value),
        csv=lambda: as_csv(fields(("file", "line", "reason", "failed")), bad),
    )


def _imported(report: ImportReport, measured_on: str) -> str:
    parts = [f"{report.added:,} new"]
    parts += [f"{report.known:,} here already"] if report.known else []
    parts += [f"{report.failed:,} failed when measured"] if report.failed else []
    lines = [f"{counted(report.records, 'record')}: {', '.join(parts)}"]
    for target, session in report.sessions.items():
        lines.append(f"session {session}: for {target_text(target)}")
    if report.damaged:
        lines.append(f"{counted(report.damaged, 'line')} cannot be used:")
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
    return "\n".join(lines)


def _nonzero(*counts: str) -> str:
    return ", ".join(count for count in counts if not count.startswith("0 "))


def _final(row: Row) -> str:
    return "-" if row["final_s"] is None else milliseconds(1000 * row["final_s"])


def _speed(record: ListedRecord) -> str:
    return f", {significant(record.gflops)} GFLOP/s" if record.gflops else ""
