"""From MetaSchedule's files into the catalogue: whole records in, the rest aside with reasons."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from tunekit.catalogue import Catalogue, NewSession, NewWorkload
from tunekit.catalogue.queries.imports import UNKNOWN_HOST, ImportedRecord
from tunekit.files import check_writable, write_atomically
from tunekit.interchange.json_files import (
    RECORDS,
    WORKLOADS,
    BadLine,
    FailedCandidate,
    RecordLine,
    read_lines,
    record_line,
    require_folder,
    workload_problem,
)
from tunekit.interchange.replay import (
    Rejected,
    ReplayedRecord,
    ReplayedWorkload,
    Replayer,
    Strand,
    TraceLine,
)
from tunekit.machine.host import detect_host
from tunekit.machine.toolchain import versions

QUARANTINE = "tunekit_quarantine.jsonl"

# Records of one workload that a child replays in one go.
_STRAND = 64

MeasuredOn = Literal["this", "unknown"]


@dataclass(frozen=True)
class ImportReport:
    """What became of a folder.

    Attributes:
        records: lines of the records' file.
        added: records that are new in the catalogue.
        known: records that it had already, or that the folder has twice.
        bad: every line that was not taken; failures among them.
        sessions: ids of the sessions that were made, one for each target, by target.
        quarantine: where the bad lines were written, None if there are none.
    """

    records: int
    added: int
    known: int
    bad: list[BadLine]
    sessions: dict[str, str]
    quarantine: Path | None

    @property
    def failed(self) -> int:
        """Records of candidates that failed when they were measured."""
        return sum(line.failed for line in self.bad)

    @property
    def damaged(self) -> int:
        """Lines that cannot be used for any other reason; those of workloads included."""
        return len(self.bad) - self.failed


def import_folder(
    folder: Path,
    catalogue: Catalogue,
    replayer: Replayer,
    *,
    measured_on: MeasuredOn,
    quarantine: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ImportReport:
    """Enters a folder's good records as sessions of origin "import", one for each target.

    Every trace is replayed on its workload first. The folder's files stay as they are. What is in
    the catalogue already is not entered again.

    Args:
        folder: holds MetaSchedule's two files.
        catalogue: takes the records.
        replayer: replays the traces.
        measured_on: "this" host, so that the records count here like its own; or "unknown": they
            are kept and can be exported, but rank nowhere, because seconds of one machine say
            little about another.
        quarantine: file for the bad lines; in the folder if left out.
        say: told what is being done.

    Raises:
        UsageError: not such a folder, or the quarantine cannot be written.
    """
    require_folder(folder)
    measured_at = datetime.fromtimestamp((folder / RECORDS).stat().st_mtime, UTC)
    bad: list[BadLine] = []
    workloads = _read_workloads(folder, bad)
    lines, count = _read_records(folder, workloads, bad)
    say(f"{count} records of {len(workloads)} workloads; replaying {len(lines)}")
    by_target = _replay(workloads, lines, replayer, measured_at, bad)
    bad.sort(key=lambda line: (line.file != WORKLOADS, line.line))
    aside = _set_aside(quarantine or folder / QUARANTINE, bad)
    added = known = 0
    sessions: dict[str, str] = {}
    for target_json, records in by_target.items():
        done = catalogue.records.add_import(_session(folder, target_json, measured_on), records)
        added += done.added
        known += done.known
        if done.session_id is not None:
            sessions[target_json] = done.session_id
    return ImportReport(count, added, known, bad, sessions, aside)


def _read_workloads(folder: Path, bad: list[BadLine]) -> list[list[str] | None]:
    """The workloads by their index; None where a line is no workload."""
    workloads: list[list[str] | None] = []
    for line in read_lines(folder / WORKLOADS):
        problem = line.problem or workload_problem(line.value)
        if problem is not None:
            bad.append(BadLine(WORKLOADS, line.number, problem, line.text))
        workloads.append(None if problem else line.value)
    return workloads


def _read_records(
    folder: Path, workloads: list[list[str] | None], bad: list[BadLine]
) -> tuple[list[RecordLine], int]:
    records: list[RecordLine] = []
    count = 0
    for line in read_lines(folder / RECORDS):
        count += 1
        failed = False
        if line.problem is None:
            try:
                record = record_line(line, len(workloads))
                if workloads[record.workload] is not None:
                    records.append(record)
                    continue
                problem = _workload_is_bad(record.workload)
            except ValueError as error:
                problem, failed = str(error), isinstance(error, FailedCandidate)
        else:
            problem = line.problem
        bad.append(BadLine(RECORDS, line.number, problem, line.text, failed))
    return records, count


def _replay(
    workloads: list[list[str] | None],
    lines: list[RecordLine],
    replayer: Replayer,
    measured_at: datetime,
    bad: list[BadLine],
) -> dict[str, list[ImportedRecord]]:
    """The records that replay, by target, in the order of their lines."""
    by_number = {line.number: line for line in lines}
    understood: dict[int, ReplayedWorkload] = {}
    rejected: set[int] = set()
    replayed: list[ReplayedRecord] = []
    for outcome in replayer.replay(_strands(workloads, lines)):
        if isinstance(outcome, ReplayedWorkload):
            understood[outcome.workload] = outcome
        elif isinstance(outcome, ReplayedRecord):
            replayed.append(outcome)
        elif outcome.line is None:
            rejected.add(outcome.workload)
            text = json.dumps(workloads[outcome.workload])
            bad.append(BadLine(WORKLOADS, outcome.workload + 1, outcome.reason, text))
        else:
            bad.append(_bad_record(by_number[outcome.line], outcome))
    bad.extend(
        BadLine(RECORDS, line.number, _workload_is_bad(line.workload), line.text)
        for line in lines
        if line.workload in rejected
    )
    by_target: defaultdict[str, list[ImportedRecord]] = defaultdict(list)
    for record in sorted(replayed, key=lambda record: record.line):
        line = by_number[record.line]
        workload = understood[line.workload]
        by_target[record.target_json].append(
            ImportedRecord(
                workload=NewWorkload(
                    workload.structural_hash, workload.module_json, "imported", workload.name
                ),
                flops=workload.flops or None,
                candidate_digest=record.candidate_digest,
                trace_json=record.trace_json,
                samples_s=line.samples_s,
                measured_at=measured_at,
            )
        )
    return by_target


def _strands(workloads: list[list[str] | None], lines: list[RecordLine]) -> Iterator[Strand]:
    """Every workload at least once, so that a bad one is found although it has no records."""
    by_workload: defaultdict[int, list[TraceLine]] = defaultdict(list)
    for line in lines:
        by_workload[line.workload].append(TraceLine(line.number, line.trace, line.target))
    for index, value in enumerate(workloads):
        if value is None:
            continue
        records = by_workload[index]
        for start in range(0, max(len(records), 1), _STRAND):
            yield Strand(index, value, tuple(records[start : start + _STRAND]))


def _bad_record(line: RecordLine, outcome: Rejected) -> BadLine:
    return BadLine(RECORDS, line.number, outcome.reason, line.text)


def _workload_is_bad(index: int) -> str:
    return f"its workload, line {index + 1} of {WORKLOADS}, cannot be used"


def _set_aside(file: Path, bad: list[BadLine]) -> Path | None:
    if not bad:
        return None
    check_writable(file, flag="--quarantine")
    write_atomically(
        file,
        "".join(
            json.dumps(
                {"file": line.file, "line": line.line, "reason": line.reason, "text": line.text},
                ensure_ascii=False,
            )
            + "\n"
            for line in bad
        ),
    )
    return file


def _session(folder: Path, target_json: str, measured_on: MeasuredOn) -> NewSession:
    here = detect_host()
    place = str(folder.resolve())
    known = measured_on == "this"
    return NewSession(
        name=folder.resolve().name or "import",
        recipe_yaml=f"# imported from {place}\n",
        recipe_digest=hashlib.sha256(f"import {place}".encode()).hexdigest(),
        model_digest=None,
        model_name="",
        target_json=target_json,
        host=here.as_dict() if known else {"cpu_name": "unknown", "features": ()},
        host_fingerprint=here.fingerprint if known else UNKNOWN_HOST,
        # The traces were replayed by these versions; the format does not say which wrote them.
        toolchain=versions(),
        budget_trials=0,
        seed=0,
        origin="import",
    )
