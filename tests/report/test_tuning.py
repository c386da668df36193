"""The progress of a session: plain lines in a log, a table that fits on a terminal."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys

import pytest

from tunekit.catalogue import FailureKind
from tunekit.report.numbers import duration
from tunekit.report.tuning import TuningDisplay, failures_text, summary_line, summary_lines
from tunekit.search.progress import Progress, TaskProgress


def _task(best_s: float | None = 1e-3, *, active: bool = False, **failures: int) -> TaskProgress:
    return TaskProgress(
        name="fused_conv2d_add_relu",
        operation="3x3 64 to 64, 56x56 add relu",
        weight=2,
        flops=1e7,
        trials=12,
        best_s=best_s,
        failures={FailureKind(kind): count for kind, count in failures.items()},
        active=active,
    )


def _progress(*tasks: TaskProgress, done: int = 30, phase: str = "measuring") -> Progress:
    return Progress(tasks, budget=90, done=done, spent_now=20, elapsed_s=60.0, phase=phase)


def test_the_summary_tells_progress_latency_speed_time_left_and_who_is_measured() -> None:
    line = summary_line(_progress(_task(), _task(2e-3, active=True)))
    assert line == (
        "30/90 trials, estimated latency 6.00 ms, 20 trials/min, 3 min left, "
        "measuring 3x3 64 to 64, 56x56 add relu"
    )


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal_the_summary_breaks_between_what_it_says(columns: int) -> None:
    progress = _progress(_task(), _task(2e-3, active=True, crash=3, build_error=12))
    lines = summary_lines(progress, columns)
    assert all(len(line) <= columns for line in lines)
    assert lines[-1] == "measuring 3x3 64 to 64, 56x56 add relu"
    assert ", ".join(line.removesuffix(",") for line in lines) == summary_line(progress)
    if columns == 80:
        assert lines[:-1] == [
            "30/90 trials, estimated latency 6.00 ms, 20 trials/min, 3 min left,",
            "failed: 12 build_error, 3 crash",
        ]


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    line = summary_lines(_progress(_task(active=True)), 30)[-1]
    assert len(line) == 30
    assert line.startswith("measuring 3x3 ")
    assert line.endswith(" add relu")


def test_the_latency_is_not_estimated_before_every_task_has_a_time() -> None:
    line = summary_line(_progress(_task(), _task(None)))
    assert "1 of 2 tasks have a time" in line
    assert "latency" not in line


def test_failures_are_counted_by_kind() -> None:
    tasks = [_task(crash=1, build_error=2), _task(crash=4)]
    assert failures_text(tasks) == "5 crash, 2 build_error"
    assert "failed: 5 crash, 2 build_error" in summary_line(_progress(*tasks))
    assert "failed" not in summary_line(_progress(_task()))


def test_a_session_that_is_done_has_no_time_left() -> None:
    line = summary_line(_progress(_task(active=True), done=90, phase="done"))
    assert line == "90/90 trials, estimated latency 2.00 ms, 20 trials/min"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (91, "2 min"),
        (3540, "59 min"),
        (3599, "1 h 0 min"),
        (4800, "1 h 20 min"),
    ],
)
def test_time_spans_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_off_a_terminal_the_display_writes_plain_lines_at_its_pace() -> None:
    stream = io.StringIO()
    with TuningDisplay(stream) as display:
        display.say("2 tasks, 90 trials")
        for done in range(30, 90):
            display.update(_progress(_task(), done=done))
        display.update(_progress(_task(), done=90, phase="done"))
    lines = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == ["2 tasks", "30/90 trials", "90/90 trials"]
    assert "\x1b" not in stream.getvalue()


def test_a_quiet_display_says_nothing() -> None:
    stream = io.StringIO()
    with TuningDisplay(stream, quiet=True) as display:
        display.say("2 tasks, 90 trials")
        display.update(_progress(_task(), phase="done"))
    assert stream.getvalue() == ""


_SHOW = """\
from tunekit.report.tuning import TuningDisplay
from tunekit.search.progress import Progress, TaskProgress

tasks = [
    TaskProgress(
        name=f"fused_contrib_conv2d_NCHWc_add_relu_with_a_long_name_{number}",
        operation=f"7x7 512 to 512, 224x224 add relu with a long name, number {number}", weight=10,
        flops=1e9, trials=1000, best_s=1e-3 * (number + 1), failures={}, active=number == 3,
    )
    for number in range(60)
]
with TuningDisplay() as display:
    display.say("60 tasks, 90000 trials")
    display.update(Progress(tasks, 90000, 60000, 60000, 600.0, "measuring"))
    display.say("SEEN")
"""


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])
def test_on_a_terminal_the_table_fits_its_window(columns: int, rows: int) -> None:
    import fcntl
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")
    }
    with subprocess.Popen(
        [sys.executable, "-c", _SHOW],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm-256color"},
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while block := os.read(ours, 65536):
                written += block
        except OSError:
            pass  # Linux says EIO where the other side is closed
    os.close(ours)
    assert process.returncode == 0, written.decode()
    assert b"\x1b[" in written
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())
    live, _, final = text.partition("SEEN")
    view = [line for line in re.split(r"[\r\n]+", live.partition("90000 trials")[2]) if line]
    assert len(view) < rows
    assert view[0].split() == [
        "task",
        "weight",
        "trials",
        "failed",
        "best",
        "ms",
        "GFLOP/s",
        "share",
    ]
    assert view[1].split()[-5:] == ["10", "1000", "60.0", "16.7", "3.3%"]
    assert "number 59" in view[1]  # what tells apart tasks with one beginning
    assert view[-2].startswith("60000/90000 trials, ")
    assert view[-1].startswith("measuring 7x7 512 to 512, 224x224 add relu with a long name, ")
    assert all(len(line) <= columns for line in re.split(r"[\r\n]+", text))
    assert final.count("7x7 ") >= 60  # the whole table stays when all is done
