"""MetaSchedule's two files, line by line: what is whole is read, what is not is told apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekit.errors import UsageError

WORKLOADS = "database_workload.json"
RECORDS = "database_tuning_record.json"

#: MetaSchedule's seconds of a candidate that failed are 1e10; nothing near that is a measurement.
_FAILED_S = 1e9


@dataclass(frozen=True)
class Line:
    """A line, numbered from 1; `value` is its JSON unless `problem` says what is wrong."""

    number: int
    text: str
    value: Any
    problem: str | None


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be used, and why. `failed`: it is whole, but of a candidate that failed
    when it was measured."""

    file: str
    line: int
    reason: str
    text: str
    failed: bool = False


@dataclass(frozen=True)
class RecordLine:
    """A record that is whole as JSON: its workload's line, its trace and target as they stand
    there, and the seconds of its runs."""

    number: int
    text: str
    workload: int
    trace: list[Any]
    samples_s: tuple[float, ...]
    target: dict[str, Any]


class FailedCandidate(ValueError):  # noqa: N818 - reads as what it is
    """A record of a candidate that failed when it was measured."""


def require_folder(folder: Path) -> None:
    """UsageError unless the folder has both files."""
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {folder}",
            hint=f"give the folder that holds {WORKLOADS} and {RECORDS}",
        )
    missing = [name for name in (WORKLOADS, RECORDS) if not (folder / name).is_file()]
    if missing:
        raise UsageError(
            f"{folder} has no {' and no '.join(missing)}",
            hint="MetaSchedule writes both into the work_dir of a tuning run",
        )


def read_lines(path: Path) -> Iterator[Line]:
    """The file's lines. A last line without its end is used if it is whole."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            ended = raw.endswith(b"\n")
            stripped = raw.strip()
            try:
                text = stripped.decode("utf-8")
                value = json.loads(text)
            except UnicodeDecodeError as error:
                yield Line(number, stripped.decode("utf-8", "replace"), None, _not_text(error))
            except (json.JSONDecodeError, RecursionError) as error:
                yield Line(number, text, None, _not_json(text, error, ended=ended))
            else:
                yield Line(number, text, value, None)


def workload_problem(value: Any) -> str | None:
    """What keeps a line's JSON from being a workload, None if it looks like one."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
        return None
    return "not a workload: [structural hash, module in base64]"


def record_line(line: Line, workloads: int) -> RecordLine:
    """The parts of a record.

    Raises:
        FailedCandidate: it has MetaSchedule's seconds for a failure.
        ValueError: what is wrong with it.
    """
    value = line.value
    if not (isinstance(value, list) and len(value) == 2 and _is_list(value[1], 4)):
        raise ValueError("not a record: [workload, [trace, seconds, target, arguments]]")
    index, (trace, seconds, target, _) = value
    if type(index) is not int or not 0 <= index < workloads:
        raise ValueError(f"workload index {index!r} is out of range: {WORKLOADS} has {workloads}")
    _require_trace(trace)
    samples_s = _run_seconds(seconds)
    if not isinstance(target, dict):
        raise ValueError("it has no target, so nobody can tell what it is for")
    return RecordLine(line.number, line.text, index, trace, samples_s, target)


def _run_seconds(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("it has no seconds")
    for second in value:
        if isinstance(second, bool) or not isinstance(second, int | float):
            raise ValueError(f"its seconds hold {second!r}")
    seconds = tuple(float(second) for second in value)
    if any(second >= _FAILED_S for second in seconds):
        raise FailedCandidate(
            f"failed when it was measured ({max(seconds):g} s); the format does not say why"
        )
    if not all(second > 0 for second in seconds):  # true for NaN too
        raise ValueError(f"its seconds are not a measurement: {value}")
    return seconds


def _require_trace(trace: Any) -> None:
    """TVM writes where a decision's index says without looking: what is malformed must not reach
    it."""
    if not (_is_list(trace, 2) and isinstance(trace[0], list) and isinstance(trace[1], list)):
        raise ValueError("not a trace: [instructions, decisions]")
    instructions, decisions = trace
    for place, instruction in enumerate(instructions):
        if not (
            _is_list(instruction, 4)
            and isinstance(instruction[0], str)
            and all(isinstance(part, list) for part in instruction[1:])
            and all(isinstance(name, str) for name in instruction[3])
        ):
            raise ValueError(f"instruction {place} of its trace is malformed")
    for decision in decisions:
        if not (_is_list(decision, 2) and type(decision[0]) is int):
            raise ValueError(f"its trace has a malformed decision: {json.dumps(decision)[:80]}")
        if not 0 <= decision[0] < len(instructions):
            raise ValueError(
                f"its trace decides about instruction {decision[0]}, and has {len(instructions)}"
            )


def _is_list(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def _not_text(error: UnicodeDecodeError) -> str:
    return f"not UTF-8 at byte {error.start + 1}"


def _not_json(text: str, error: Exception, *, ended: bool) -> str:
    if not text:
        return "empty line"
    if not ended:
        return "torn: the file ends in the middle of the line"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    return "not JSON: nested too deeply"
