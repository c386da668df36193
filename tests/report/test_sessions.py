"""The list of sessions, and how one went: on a terminal of any width, in a pipe, for programs."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from rich.text import Text

from tunekit.benchmark.history import PastRun
from tunekit.catalogue import (
    BenchRunInfo,
    CompiledLibrary,
    FailureExample,
    FailureKind,
    ResultPoint,
    SessionInfo,
    SessionReport,
    TaskSummary,
)
from tunekit.report.curve import curve_text
from tunekit.report.output import Format, as_json, in_format
from tunekit.report.sessions import (
    SESSION_FIELDS,
    ago,
    session_row,
    session_text,
    session_value,
    sessions_result,
    target_name,
)

_THEN = datetime(2026, 11, 22, 6, 40, tzinfo=UTC)


def _session(**changes: object) -> SessionInfo:
    session = SessionInfo(
        id="ab12cd34",
        name="resnet50_x86",
        state="interrupted",
        origin="tune",
        recipe_yaml="",
        recipe_digest="recipe",
        model_name="resnet50",
        target_json='{"kind":"llvm","mcpu":"x86-64-v3"}',
        host_fingerprint="host",
        budget_trials=800,
        trials_done=6,
        failures=2,
        reused=1,
        seed=0,
        pid=4711,
        created_at=_THEN,
        updated_at=_THEN + timedelta(minutes=5),
        heartbeat_at=_THEN,
        seconds={"measure": 60.0, "sample": 30.0, "wait": 10.0, "record": 0.1},
    )
    return replace(session, **changes)  # type: ignore[arg-type]


def _task(task_id: int, name: str, **changes: object) -> TaskSummary:
    task = TaskSummary(
        task_id=task_id,
        position=task_id,
        name=f"fused_{task_id}",
        operation=name,
        structural_hash=f"hash{task_id}",
        weight=2.0,
        flops=1e7,
        implementation=None,
        trials=3,
        failures={},
        best_s=1e-3,
    )
    return replace(task, **changes)  # type: ignore[arg-type]


def _report(**changes: object) -> SessionReport:
    report = SessionReport(
        session=_session(),
        tasks=[
            _task(1, "add", best_s=1e-3),
            _task(
                2,
                "3x3 512 to 512, 7x7 add relu" + " mul" * 30 + " (winograd 2x2)",
                failures={FailureKind.CRASH: 2},
            ),
            _task(3, "known", trials=0, best_s=None),
        ],
        outcomes=[
            ResultPoint(1, 4e-3),
            ResultPoint(2, 3e-3),
            ResultPoint(2, None),
            ResultPoint(2, None),
            ResultPoint(1, 1e-3),
            ResultPoint(2, 1e-3),
        ],
        failures=[FailureExample(FailureKind.CRASH, 2, "fused_2", "SIGILL: [illegal]\nTraceback")],
        known_s={3: 5e-4},
        host={"cpu_name": "AMD EPYC", "cores": 2},
        toolchain={"apache-tvm": "0.27"},
        libraries=[CompiledLibrary("/a/model.so", _THEN)],
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def _printed(part: Text | str, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False).print(part)
    return stream.getvalue().splitlines()


def _shown(report: SessionReport, width: int = 100, *, unicode: bool = True) -> str:
    return "\n".join([*_printed(session_text(report, width, unicode=unicode), width), ""])


@pytest.mark.parametrize("width", [60, 80, 120, 200, 1000])
def test_the_list_fits_and_tells_what_matters_most_first(width: int) -> None:
    sessions = [
        _session(),
        _session(id="00ff00ff", name="n" * 100, state="running", budget_trials=1_000_000),
    ]
    for age in (
        timedelta(seconds=9),
        timedelta(minutes=99),
        timedelta(days=99),
        timedelta(days=999),
    ):
        shown = sessions_result(sessions, _THEN + age).table(width)
        lines = (shown if isinstance(shown, str) else shown.plain).splitlines()
        assert all(len(line) <= width for line in lines)
        assert len(lines) == 3
    assert lines[0].split()[:4] == ["session", "name", "state", "trials"]
    assert lines[1].startswith("ab12cd34  resnet50_x86" if width >= 80 else "ab12cd34 res")
    assert "interrupted" in lines[1]
    assert "6/800" in lines[1]
    assert "6/1000000" in lines[2]
    assert ("llvm x86-64-v3" in lines[1]) == (width >= 200)


def test_a_long_name_is_whole_where_nothing_limits_the_width() -> None:
    lines = _printed(sessions_result([_session(name="n" * 100)]).table(1000), 1000)
    assert "n" * 100 in lines[1]


def test_a_session_for_programs_has_numbers_and_moments() -> None:
    (row,) = json.loads(as_json([session_row(_session())]))
    assert tuple(row) == SESSION_FIELDS
    assert (row["trials_done"], row["budget_trials"], row["failures"]) == (6, 800, 2)
    assert row["created_at"] == "2026-11-22T06:40:00+00:00"
    assert (row["pid"], row["searched_s"]) == (None, 100.1)
    assert session_row(_session(state="running"))["pid"] == 4711
    lines = in_format(sessions_result([_session()]), Format.csv).splitlines()
    assert lines[0] == ",".join(SESSION_FIELDS)
    assert lines[1].startswith("ab12cd34,resnet50_x86,interrupted,6,800,2,1,resnet50,")


def test_a_session_tells_facts_tasks_failures_time_and_what_to_do() -> None:
    shown = _shown(_report())
    assert shown.startswith("session ab12cd34: resnet50_x86, interrupted\n")
    for line in (
        "target   llvm x86-64-v3",
        "machine  AMD EPYC, 2 cores",
        "trials   6 of 800, 2 failed, 1 reused",
        "latency  5.00 ms estimated, from 15.0 ms when every task had a time",
        "time     2 min: measure 60 %, sample 30 %, wait 10 %",
        "library  /a/model.so",
        "next     tunekit resume ab12cd34",
    ):
        assert f"\n{line}\n" in shown
    assert "\n  2 crash: SIGILL: [illegal] (3x3 512 to 512, 7x7 add relu mul" in shown
    assert "3x3 512 to 512, 7x7 add re" in shown
    assert "\u2026 (winograd 2x2) " in shown
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if " 2 " in line}
    assert rows["add"] == ["2", "3", "1.00", "10.0", "40.0%"]
    assert rows["known"] == ["2", "0", "0.500", "20.0", "20.0%"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_session_fits_its_terminal(width: int) -> None:
    text = session_text(_report(), width, unicode=True).plain
    _, tasks, _, curve = text.split("\n\n")
    assert max(map(len, [*tasks.splitlines(), *curve.splitlines()])) <= width


def test_a_session_with_nothing_yet_is_short() -> None:
    session = _session(trials_done=0, failures=0, reused=0, seconds={}, state="running")
    empty = _report(session=session, tasks=[], outcomes=[], failures=[], known_s={}, libraries=[])
    shown = _shown(empty)
    assert shown.startswith("session ab12cd34: resnet50_x86, running (process 4711)\n")
    for absent in ("latency", "time", "library", "next", "failures", "task "):
        assert absent not in shown
    value = session_value(empty)
    assert (value["latency_s"], value["curve"], value["tasks"]) == (None, [], [])


def test_a_session_ends_with_the_benchmarks_of_its_library() -> None:
    run = BenchRunInfo(1, "resnet50_x86", _THEN, "recipe", "host", "AMD EPYC", "tuned is faster")
    past = PastRun(run, "ok", 0.05, "onnxruntime", 1.12, 1.11, 1.13)
    lines = session_text(_report(), 80, [past], unicode=True).plain.splitlines()
    assert lines[-2].split()[:2] == ["benchmark", "machine"]
    assert lines[-1].endswith("AMD EPYC      50.0    1.12x  1.11 to 1.13x  faster")
    assert session_value(_report(), [past])["benchmarks"][0]["verdict"] == "tuned is faster"
    assert session_value(_report())["benchmarks"] == []


def test_a_sessions_report_for_programs_is_whole() -> None:
    value = json.loads(as_json(session_value(_report())))
    assert value["latency_s"] == pytest.approx(5e-3)
    assert value["seconds"]["measure"] == 60.0
    assert value["curve"] == [
        {"trials": 2, "latency_s": pytest.approx(15e-3)},
        {"trials": 5, "latency_s": pytest.approx(9e-3)},
        {"trials": 6, "latency_s": pytest.approx(5e-3)},
    ]
    assert value["failures_by_kind"] == [
        {
            "kind": "crash",
            "count": 2,
            "example": {"task": "fused_2", "text": "SIGILL: [illegal]\nTraceback"},
        }
    ]
    assert [task["best_s"] for task in value["tasks"]] == [1e-3, 1e-3, 5e-4]
    assert [task["known_before_s"] for task in value["tasks"]] == [None, None, 5e-4]
    assert value["tasks"][1]["failures"] == {"crash": 2}
    assert (value["tasks"][0]["name"], value["tasks"][0]["operation"]) == ("fused_1", "add")


def test_a_curve_falls_where_it_fell() -> None:
    lines = curve_text([(0, 4e-3), (5, 3e-3), (10, 2e-3)], 10, width=17, height=3)
    assert lines == [
        "4.00 ┤─────╮",
        "3.00 ┤     ╰────╮",
        "2.00 ┤          ╰",
        "      0 10 trials",
    ]


def test_a_steep_curve_is_drawn_by_ratios_and_in_ascii_where_need_be() -> None:
    lines = curve_text([(0, 1.0), (1, 0.1), (10, 0.01)], 10, width=20, height=3, unicode=False)
    assert [line.split()[0] for line in lines[:3]] == ["1000", "100.0", "10.0"]
    assert all(line.isascii() for line in lines)
    assert "`" in lines[1]


@pytest.mark.parametrize("width", [12, 40, 100])
@pytest.mark.parametrize("unicode", [True, False])
def test_a_curve_has_its_size_and_ends_at_its_best(width: int, unicode: bool) -> None:
    points = [(trial, 1.0 / (1 + trial)) for trial in range(0, 400, 7)]
    lines = curve_text(points, 400, width=width, height=8, unicode=unicode)
    assert len(lines) == 9
    assert all(len(line) <= max(width, 24) for line in lines)
    assert float(lines[0].split()[0]) == 1000
    assert len(lines[7]) == max(len(line) for line in lines[:8])


def test_a_curve_that_never_fell_is_one_line() -> None:
    assert len(curve_text([(3, 2e-3)], 9, width=40)) == 2
    assert curve_text([], 9, width=40) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "now"), (40, "40 s ago"), (3000, "50 min ago"), (200_000, "2 d ago")],
)
def test_how_long_ago(seconds: float, words: str) -> None:
    assert ago(_THEN + timedelta(seconds=seconds), _THEN) == words
    assert ago(_THEN + timedelta(days=200), _THEN) == _THEN.astimezone().strftime("%Y-%m-%d")


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ('{"kind":"llvm","mcpu":"znver3"}', "llvm znver3"),
        ('{"kind":"cuda","arch":"sm_90"}', "cuda sm_90"),
        ('{"kind":"llvm"}', "llvm"),
        ("not json", "not json"),
    ],
)
def test_a_target_has_a_short_name(target: str, name: str) -> None:
    assert target_name(target) == name
