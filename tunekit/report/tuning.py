"""The tuning session on standard error: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from tunekit.report import numbers
from tunekit.report.numbers import duration
from tunekit.report.table import Column, elided, number, terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from tunekit.search.progress import Progress, TaskProgress

# Seconds between plain lines, and between redraws of the table.
_LINE_INTERVAL_S = 15.0
_DRAW_INTERVAL_S = 0.5
_ROWS_BESIDES_TASKS = 10


class TuningDisplay:
    """Shows a tuner's progress; a context manager, so that the terminal is always given back."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._live: Live | None = None
        self._console: Console | None = None
        self._last: Progress | None = None
        self._last_shown = 0.0

    def __enter__(self) -> TuningDisplay:
        if not self._quiet and self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._console = Console(file=self._stream, highlight=False)
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_live()

    def _end_live(self) -> None:
        """Leaves the whole table where the live one was."""
        if self._live is None:
            return
        self._live.stop()
        self._live = None
        if self._last is not None and self._console is not None:
            whole = len(self._last.tasks)
            self._console.print(task_table(self._last, whole, self._console.width))

    def say(self, line: str) -> None:
        """A line that stays, above the live table if there is one."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.console.print(line, markup=False)
        else:
            print(line, file=self._stream, flush=True)

    def update(self, progress: Progress) -> None:
        """Takes note of the progress and shows it if it is time to."""
        self._last = progress
        now = time.monotonic()
        interval = _DRAW_INTERVAL_S if self._live is not None else _LINE_INTERVAL_S
        if self._quiet or (now - self._last_shown < interval and progress.phase != "done"):
            return
        self._last_shown = now
        if progress.phase == "done":
            self._end_live()
        if self._live is None:
            lines = (
                [summary_line(progress)]
                if self._console is None
                else summary_lines(progress, self._console.width)
            )
            print(*lines, sep="\n", file=self._stream, flush=True)
            return
        assert self._console is not None
        rows = max(self._console.height - _ROWS_BESIDES_TASKS, 5)
        self._live.update(_view(progress, rows, self._console.width), refresh=True)


def summary_line(progress: Progress) -> str:
    """The session in one line, however long."""
    return ", ".join([*_summary(progress), *_activity(progress)])


def summary_lines(progress: Progress, columns: int) -> list[str]:
    """The session in lines of at most `columns`, broken between what they say."""
    lines: list[str] = []
    for part in _summary(progress):
        if lines and len(lines[-1]) + len(part) + 3 <= columns:
            lines[-1] += f", {part}"
        else:
            if lines:
                lines[-1] += ","
            lines.append(part)
    # Long names would break: what it is doing has a line of its own.
    lines += [elided(part, columns) for part in _activity(progress)]
    if progress.forecast is not None and progress.phase in ("searching", "measuring"):
        lines.append(elided(progress.forecast.in_words, columns))
    return lines


def _summary(progress: Progress) -> list[str]:
    parts = [f"{progress.done}/{progress.budget} trials"]
    if progress.latency_s is not None:
        parts.append(f"estimated latency {numbers.milliseconds(1e3 * progress.latency_s)} ms")
    elif progress.tasks:
        known = sum(task.best_s is not None for task in progress.tasks)
        parts.append(f"{known} of {len(progress.tasks)} tasks have a time")
    if progress.trials_per_minute is not None:
        parts.append(f"{progress.trials_per_minute:.0f} trials/min")
    if progress.left_s is not None and progress.phase in ("searching", "measuring"):
        parts.append(f"{duration(progress.left_s)} left")
    failed = failures_text(progress.tasks)
    if failed:
        parts.append(f"failed: {failed}")
    return parts


def _activity(progress: Progress) -> list[str]:
    active = next((task.operation for task in progress.tasks if task.active), None)
    if active is None or progress.phase == "done":
        return []
    return [f"{progress.phase} {active}"]


def failures_text(tasks: Iterable[TaskProgress]) -> str:
    """Failed trials by kind, "" when there are none."""
    total: Counter[str] = Counter()
    for task in tasks:
        for kind, count in task.failures.items():
            total[kind.value] += count
    return ", ".join(f"{count} {kind}" for kind, count in total.most_common())


def task_table(progress: Progress, rows: int, columns: int) -> Text:
    """The tasks as a table, those that take most of the latency first, `columns` wide at most."""
    total = sum(_share_s(task) for task in progress.tasks)
    ordered = sorted(progress.tasks, key=lambda task: -_share_s(task))
    shown: list[Column[TaskProgress]] = [
        Column("task", lambda task: task.operation, elide=True),
        number("weight", lambda task: f"{task.weight:g}"),
        number("trials", lambda task: task.trials),
        number("failed", lambda task: sum(task.failures.values()) or None),
        number("best ms", lambda task: task.best_s and numbers.milliseconds(1e3 * task.best_s)),
        number("GFLOP/s", _gflops),
        number("share", lambda task: f"{_share_s(task) / total:.1%}" if _share_s(task) else ""),
    ]
    table = terminal(
        shown, ordered[:rows], columns, style=lambda task: "bold" if task.active else ""
    )
    if len(ordered) > rows:
        table.append(f"\n... and {len(ordered) - rows} more", style="dim")
    return table


def _view(progress: Progress, rows: int, columns: int) -> Text:
    from rich.text import Text

    return Text("\n").join(
        [task_table(progress, rows, columns), *map(Text, ["", *summary_lines(progress, columns)])]
    )


def _gflops(task: TaskProgress) -> str:
    return f"{task.flops / task.best_s / 1e9:.1f}" if task.best_s and task.flops else ""


def _share_s(task: TaskProgress) -> float:
    return task.weight * task.best_s if task.best_s else 0.0
