"""Sessions: the list of them, and how one went."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tunekit.implementations import selected
from tunekit.report import numbers
from tunekit.report.curve import curve_text
from tunekit.report.history import history_columns, past_value
from tunekit.report.numbers import duration, moment
from tunekit.report.output import Result, as_json, rows_result
from tunekit.report.table import Column, facts, number, terminal
from tunekit.wording import time_shares

if TYPE_CHECKING:
    from rich.text import Text

    from tunekit.benchmark.history import PastRun
    from tunekit.catalogue import SessionInfo, SessionReport, TaskSummary

# Of a failure's text, what fits beside its kind.
_LONGEST_EXAMPLE = 160
_WIDEST_CURVE = 100
_STYLES = {"running": "bold", "failed": "red"}

SESSION_FIELDS = (
    "id",
    "name",
    "state",
    "trials_done",
    "budget_trials",
    "failures",
    "reused",
    "model_name",
    "target",
    "host",
    "origin",
    "seed",
    "pid",
    "created_at",
    "updated_at",
    "searched_s",
)


def session_row(session: SessionInfo) -> dict[str, Any]:
    """A session for programs."""
    return {
        "id": session.id,
        "name": session.name,
        "state": session.state,
        "trials_done": session.trials_done,
        "budget_trials": session.budget_trials,
        "failures": session.failures,
        "reused": session.reused,
        "model_name": session.model_name,
        "target": target_name(session.target_json),
        "host": session.host_fingerprint,
        "origin": session.origin,
        "seed": session.seed,
        "pid": session.pid if session.state == "running" else None,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
        "searched_s": round(sum(session.seconds.values()), 3),
    }


def sessions_result(sessions: Sequence[SessionInfo], now: datetime | None = None) -> Result:
    """A list of sessions, as of `now`."""
    present = now or datetime.now(UTC)
    columns: list[Column[SessionInfo]] = [
        Column("session", lambda session: session.id),
        Column("name", lambda session: session.name, elide=True),
        Column("state", lambda session: session.state),
        number("trials", lambda session: f"{session.trials_done}/{session.budget_trials}"),
        number("failed", lambda session: session.failures or None),
        number("reused", lambda session: session.reused or None, priority=1),
        number("last", lambda session: ago(present, session.updated_at)),
        Column("begun", lambda session: moment(session.created_at), priority=2),
        Column("model", lambda session: session.model_name, priority=3),
        Column("target", lambda session: target_name(session.target_json), priority=4),
        number("searched", lambda session: _spent(session.seconds), priority=5),
    ]
    return rows_result(
        columns,
        sessions,
        SESSION_FIELDS,
        [session_row(session) for session in sessions],
        lambda session: _STYLES.get(session.state, ""),
    )


def session_result(
    report: SessionReport, benchmarks: Sequence[PastRun] = (), *, unicode: bool
) -> Result:
    """How a session went, and the benchmarks of its libraries.

    Args:
        report: the session's.
        benchmarks: newest first.
        unicode: whether the reader has more than ASCII.
    """
    return Result(
        table=lambda width: session_text(report, width, benchmarks, unicode=unicode),
        json=lambda: as_json(session_value(report, benchmarks)),
    )


def session_value(report: SessionReport, benchmarks: Sequence[PastRun] = ()) -> dict[str, Any]:
    """How a session went, for programs; all times in seconds."""
    session = report.session
    curve = report.curve()
    return {
        **session_row(session),
        "seconds": session.seconds,
        "latency_s": curve[-1][1] if curve else None,
        "cpu": report.host.get("cpu_name"),
        "toolchain": report.toolchain,
        "tasks": [
            {
                "name": task.name,
                "operation": task.operation or task.name,
                "structural_hash": task.structural_hash,
                "weight": task.weight,
                "flops": task.flops,
                "trials": task.trials,
                "failures": {kind.value: count for kind, count in task.failures.items()},
                "best_s": _best_s(report, task),
                "known_before_s": report.known_s.get(task.task_id),
            }
            for task in report.tasks
        ],
        "failures_by_kind": [
            {
                "kind": failure.kind.value,
                "count": failure.count,
                "example": {"task": failure.task_name, "text": failure.text},
            }
            for failure in report.failures
        ],
        "curve": [{"trials": trials, "latency_s": seconds} for trials, seconds in curve],
        "libraries": [
            {"path": library.path, "created_at": library.created_at} for library in report.libraries
        ],
        "benchmarks": [past_value(past) for past in benchmarks],
    }


def session_text(
    report: SessionReport, width: int, benchmarks: Sequence[PastRun] = (), *, unicode: bool
) -> Text:
    """How a session went, for people: each part that there is, an empty line between two."""
    from rich.text import Text

    session = report.session
    curve = report.curve()
    title = Text(f"session {session.id}: {session.name}, {_state(session)}", style="bold")
    parts: list[Text] = [Text("\n").join([title, facts(_facts(report, curve))])]
    if report.tasks:
        parts.append(_tasks(report, width))
    if report.failures:
        lines = [Text("failures", style="bold")]
        operations = {task.name: task.operation or task.name for task in report.tasks}
        for failure in report.failures:
            line = Text(f"  {failure.count} {failure.kind.value}: {_example(failure.text)}")
            task = operations.get(failure.task_name, failure.task_name)
            line.append(f" ({task})", style="dim")
            lines.append(line)
        parts.append(Text("\n").join(lines))
    if curve and session.trials_done:
        drawn = curve_text(
            curve, session.trials_done, width=min(width, _WIDEST_CURVE), unicode=unicode
        )
        heading = Text("estimated latency of the model, ms, against trials", style="bold")
        parts.append(Text("\n").join([heading, *map(Text, drawn)]))
    if benchmarks:
        parts.append(terminal(history_columns(benchmarks), benchmarks, width))
    return Text("\n\n").join(parts)


def target_name(target_json: str) -> str:
    """A target in a word or two: its CPU or GPU model, else its kind."""
    try:
        target: Mapping[str, Any] = json.loads(target_json)
    except ValueError:
        return target_json
    kind = str(target.get("kind", "?"))
    model = target.get("mcpu") or target.get("arch")
    return f"{kind} {model}" if model else kind


def ago(now: datetime, then: datetime) -> str:
    """How long before `now` something was: "3 min ago"; the date where that is long."""
    seconds = (now - then).total_seconds()
    if seconds < 1:
        return "now"
    if seconds < 6000:
        return f"{duration(seconds) if seconds < 60 else f'{seconds / 60:.0f} min'} ago"
    if seconds < 86_400:
        return f"{seconds / 3600:.0f} h ago"
    days = int(seconds // 86_400)
    return f"{days} d ago" if days < 100 else then.astimezone().strftime("%Y-%m-%d")


def _state(session: SessionInfo) -> str:
    return f"running (process {session.pid})" if session.state == "running" else session.state


def _facts(report: SessionReport, curve: Sequence[tuple[int, float]]) -> dict[str, str]:
    session = report.session
    counts = f"{session.trials_done} of {session.budget_trials}"
    counts += f", {session.failures} failed, {session.reused} reused"
    cores = report.host.get("cores")
    resumable = session.state in ("interrupted", "failed") and session.origin == "tune"
    return {
        "model": session.model_name or "",
        "target": target_name(session.target_json),
        "machine": str(report.host.get("cpu_name") or session.host_fingerprint)
        + (f", {cores} cores" if cores else ""),
        "begun": f"{moment(session.created_at)}, last heard of {moment(session.updated_at)}",
        "trials": counts,
        "latency": _gain(curve),
        "time": _time(session.seconds),
        "library": report.libraries[0].path if report.libraries else "",
        "next": f"tunekit resume {session.id}" if resumable else "",
    }


def _tasks(report: SessionReport, width: int) -> Text:
    best = {task.task_id: _best_s(report, task) for task in report.tasks}
    costs = {
        task.task_id: None if (seconds := best[task.task_id]) is None else task.weight * seconds
        for task in report.tasks
    }
    runs = selected((task.implementation, costs[task.task_id]) for task in report.tasks)
    # Algorithms that lost are not in the library.
    shares = {
        task.task_id: (costs[task.task_id] or 0.0) if is_run else 0.0
        for task, is_run in zip(report.tasks, runs, strict=True)
    }
    total = sum(shares.values())

    def rate(task: TaskSummary) -> str:
        seconds = best[task.task_id]
        return f"{task.flops / seconds / 1e9:.1f}" if seconds and task.flops else ""

    def milliseconds(task: TaskSummary) -> str:
        seconds = best[task.task_id]
        return numbers.milliseconds(1e3 * seconds) if seconds else ""

    columns: list[Column[TaskSummary]] = [
        Column("task", lambda task: task.operation or task.name, elide=True),
        number("weight", lambda task: f"{task.weight:g}"),
        number("trials", lambda task: task.trials),
        number("failed", lambda task: sum(task.failures.values()) or None),
        number("best ms", milliseconds),
        number("GFLOP/s", rate),
        number("share", lambda task: f"{shares[task.task_id] / total:.1%}" if total else ""),
    ]
    return terminal(columns, sorted(report.tasks, key=lambda task: -shares[task.task_id]), width)


def _best_s(report: SessionReport, task: TaskSummary) -> float | None:
    """Of this session, or what was known when it began."""
    times = (task.best_s, report.known_s.get(task.task_id))
    return min((seconds for seconds in times if seconds is not None), default=None)


def _gain(curve: Sequence[tuple[int, float]]) -> str:
    if not curve:
        return ""
    first, last = curve[0][1], curve[-1][1]
    text = f"{numbers.milliseconds(1e3 * last)} ms estimated"
    if last < first:
        text += f", from {numbers.milliseconds(1e3 * first)} ms when every task had a time"
    return text


def _time(seconds: Mapping[str, float]) -> str:
    shares = time_shares(seconds)
    return f"{_spent(seconds)}: {shares}" if shares else ""


def _spent(seconds: Mapping[str, float]) -> str:
    return duration(sum(seconds.values())) if seconds else ""


def _example(text: str) -> str:
    """A failure's text in one line: its first one that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[0] if lines else ""
    return line if len(line) <= _LONGEST_EXAMPLE else f"{line[: _LONGEST_EXAMPLE - 3]}..."
