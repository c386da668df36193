"""A tuning session on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.page import charts
from tunekit.page.machine import machine
from tunekit.page.parts import Chart, Facts, HtmlTable, Part, Prose, Section, TableCell
from tunekit.report import numbers
from tunekit.report.sessions import session_value

if TYPE_CHECKING:
    from tunekit.catalogue import SessionReport


def tuning_section(report: SessionReport) -> Section:
    """What was tuned with which budget, how it got better, where time went and what failed."""
    session, curve = report.session, report.curve()
    value = session_value(report)
    spent = sum(session.seconds.values())
    parts: list[Part] = [
        Facts(
            [
                ("session", f"{session.id}: {session.name}, {session.state}"),
                ("trials", f"{session.trials_done} of {session.budget_trials}"),
                ("reused", str(session.reused)),
                ("failed", str(session.failures)),
                ("begun", f"{session.created_at:%Y-%m-%d %H:%M} UTC"),
                ("searched", numbers.duration(spent)),
                *machine(report.host),
                ("target", session.target_json),
            ]
        )
    ]
    if curve:
        parts += _curves(report, curve)
    if session.seconds:
        rows = [
            {"name": name, "value": round(seconds, 3)} for name, seconds in session.seconds.items()
        ]
        parts.append(Chart("Where time went", "", charts.bars(rows, "s")))
    if report.tasks:
        parts.append(_tasks(value))
    if report.failures:
        rows = [{"name": one.kind.value, "value": one.count} for one in report.failures]
        parts.append(Chart("Failures by kind", "", charts.bars(rows, "trials")))
        parts += [
            Prose(f"{one.kind.value}, for example: {one.text}", "note") for one in report.failures
        ]
    return Section("Tuning", parts)


def _curves(report: SessionReport, curve: Sequence[tuple[int, float]]) -> list[Part]:
    """The best estimate so far, against trials and against minutes."""
    done = report.session.trials_done
    points = [*curve, (max(done, curve[-1][0]), curve[-1][1])]
    by_trials = [{"x": trials, "y": 1e3 * seconds} for trials, seconds in points]
    parts: list[Part] = [
        Chart(
            "Estimated latency against trials",
            "The sum of the best kernels so far, from the first moment at which every kernel had a "
            "time.",
            charts.falling(by_trials, "trials", "ms"),
        )
    ]
    moments = [outcome.measured_at for outcome in report.outcomes]
    by_minutes = [
        {"x": (moment - report.session.created_at).total_seconds() / 60, "y": 1e3 * seconds}
        for trials, seconds in points
        if (moment := max(filter(None, moments[:trials]), default=None)) is not None
    ]
    if len(by_minutes) > 1:
        parts.append(
            Chart(
                "Estimated latency against minutes",
                "Since the session began, interruptions included.",
                charts.falling(by_minutes, "minutes", "ms"),
            )
        )
    return parts


def _tasks(value: dict[str, object]) -> HtmlTable:
    tasks = value["tasks"]
    assert isinstance(tasks, list)
    titles = ("kernel", "calls", "GFLOP", "trials", "failed", "best ms", "GFLOP/s")
    return HtmlTable(
        [TableCell(title, "left" if index == 0 else "right") for index, title in enumerate(titles)],
        [
            [
                TableCell(str(task["operation"])),
                TableCell(str(task["weight"]), "right"),
                TableCell(
                    numbers.significant(task["flops"] / 1e9) if task["flops"] else "", "right"
                ),
                TableCell(str(task["trials"]), "right"),
                TableCell(str(sum(task["failures"].values()) or ""), "right"),
                TableCell("" if task["best_s"] is None else _ms(task["best_s"]), "right"),
                TableCell(
                    numbers.significant(task["flops"] / task["best_s"] / 1e9)
                    if task["best_s"] and task["flops"]
                    else "",
                    "right",
                ),
            ]
            for task in tasks
        ],
    )


def _ms(seconds: float) -> str:
    return numbers.milliseconds(1e3 * seconds)
