"""What is known of a model's tasks, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunekit.report import numbers
from tunekit.report.output import Result, as_json
from tunekit.report.table import Column, as_csv, fields, number, terminal, wrapped

if TYPE_CHECKING:
    from rich.text import Text

    from tunekit.library.coverage import Knowledge, TaskKnowledge

TASK_FIELDS = (
    "task",
    "operation",
    "structural_hash",
    "weight",
    "flops",
    "known",
    "latency_s",
    "estimated_s",
    "share",
    "trials",
    "trial_id",
    "measured_at",
)


def known_result(known: Knowledge) -> Result:
    """The tasks with how much of the model's time is known."""
    return Result(
        table=lambda width: _text(known, width),
        json=lambda: as_json(_value(known)),
        csv=lambda: as_csv(fields(TASK_FIELDS), _rows(known)),
    )


def _rows(known: Knowledge) -> list[dict[str, Any]]:
    """The tasks for programs: `latency_s` seconds of a call, where there is a record; `estimated_s`
    of all its calls, naive loops where there is none."""
    from tunekit.graph.operation import describe

    total = sum(entry.seconds for entry in known.tasks)
    return [
        {
            "task": entry.task.name,
            "operation": describe(entry.task.module),
            "structural_hash": entry.task.structural_hash,
            "weight": entry.task.weight,
            "flops": entry.task.flops,
            "known": entry.record is not None,
            "latency_s": entry.record.score_s if entry.record else None,
            "estimated_s": entry.seconds,
            "share": entry.seconds / total if total else None,
            "trials": entry.trials,
            "trial_id": entry.record.trial_id if entry.record else None,
            "measured_at": entry.record.measured_at if entry.record else None,
        }
        for entry in known.tasks
    ]


def _value(known: Knowledge) -> dict[str, Any]:
    """All of it for programs."""
    return {
        "total": len(known.tasks),
        "known": len(known.known),
        "coverage": known.coverage,
        "latency_s": known.latency_s,
        "tasks": _rows(known),
    }


def _text(known: Knowledge, width: int) -> Text:
    """The tasks for people, those that take longest first; what is new has no time."""
    from rich.text import Text

    from tunekit.graph.operation import describe

    total = sum(entry.seconds for entry in known.tasks)
    operations = {entry.task.name: describe(entry.task.module) for entry in known.tasks}

    def best(entry: TaskKnowledge) -> str:
        return numbers.milliseconds(1e3 * entry.record.score_s) if entry.record else "new"

    def rate(entry: TaskKnowledge) -> str:
        if entry.record is None or not entry.task.flops:
            return ""
        return f"{entry.task.flops / entry.record.score_s / 1e9:.1f}"

    def measured(entry: TaskKnowledge) -> str:
        return f"{entry.record.measured_at.astimezone():%Y-%m-%d}" if entry.record else ""

    columns: list[Column[TaskKnowledge]] = [
        Column("task", lambda entry: operations[entry.task.name], elide=True),
        number("weight", lambda entry: f"{entry.task.weight:g}"),
        number("trials", lambda entry: entry.trials or None),
        number("best ms", best),
        number("GFLOP/s", rate),
        number("share", lambda entry: f"{entry.seconds / total:.1%}" if total else ""),
        Column("measured", measured, priority=1),
    ]
    lines = [known.line()]
    if known.latency_s is not None:
        lines.append(
            f"the known ones take {numbers.milliseconds(1e3 * known.latency_s)} ms of a run"
        )
    ordered = sorted(known.tasks, key=lambda entry: -entry.seconds)
    return Text.assemble(
        *(wrapped(line, width) + "\n" for line in lines),
        "\n",
        terminal(columns, ordered, width, style=lambda entry: "" if entry.record else "dim"),
    )
