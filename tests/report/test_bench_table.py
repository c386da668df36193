"""A benchmark as a table: complete where there is room, and never wider than the terminal."""

from __future__ import annotations

import csv
import io
import math

import pytest
from bench_reports import failed, full_report, report_of, timed

from tunekit.report import numbers
from tunekit.report.benchmark import COLUMNS, COSTS, bench_markdown, bench_result, bench_text
from tunekit.report.output import Format, in_format


@pytest.mark.parametrize("width", [80, 100, 160, 200])
def test_no_line_is_wider_than_the_terminal(width):
    text = bench_text(full_report(), width=width).plain
    assert max(len(line) for line in text.splitlines()) <= width


def test_long_names_are_given_the_room_between_the_columns():
    report = report_of(timed("tuned", [5321.0] * 6), timed("onnxruntime-with-openmp", [8000.0] * 6))
    text = bench_text(report, width=80).plain
    assert max(len(line) for line in text.splitlines()) <= 80


def test_80_columns_have_every_number_that_was_promised():
    text = bench_text(full_report(), width=80).plain
    for title in ("median ms", "best", "p10", "p90", "FPS", "vs best*", "MiB", "rel. err"):
        assert title in text


def test_a_wide_terminal_has_every_column():
    text = bench_text(full_report(), width=200).plain
    assert all(column.title in text for column in COLUMNS)


@pytest.mark.parametrize("width", [80, 200])
def test_start_and_cpu_have_a_table_of_their_own(width):
    lines = bench_text(full_report(), width=width).plain.splitlines()
    [top] = [number for number, line in enumerate(lines) if COSTS[1].title in line]
    assert lines[top].split("  ")[0] == "runtime"
    tuned = next(line for line in lines[top:] if line.startswith("tuned"))
    assert tuned.split()[1:] == ["2100", "750.0", "1250", "100.0", "100.2", "40.0"]
    assert not any(line.startswith("torchscript") for line in lines[top:])


@pytest.mark.parametrize(("width", "shown"), [(80, False), (200, True)])
def test_what_is_seldom_known_makes_no_line_too_wide_and_no_name_unreadable(width, shown):
    used = {"without_transfers_ms": 12.2, "gpu_mib": 803.0, "gpu_percent": 93}
    others = {"busy_cores": 1.93, "instructions": 2.3e9, "settings": used}
    rows = [timed(name, [10.0] * 6) for name in ("tuned", "onnxruntime-tensorrt")]
    report = report_of(*(row.model_copy(update=others) for row in rows))
    lines = bench_text(report, width=width).plain.splitlines()
    assert max(map(len, lines)) <= width
    [top] = [line for line in lines if "to first ms" in line]
    assert "without transfers" in top
    assert ("M instr. a run" in top) == shown
    assert sum(line.startswith("onnxruntime-tensorrt ") for line in lines) == 2


def test_what_is_known_of_a_gpu_is_in_every_form():
    used = {"without_transfers_ms": 12.2, "gpu_mib": 803.4, "gpu_percent": 93}
    grown = {"gpu_mib": 2041.5, "gpu_mib_by": "growth"}
    settings = {"tensorrt": {**used, "gpu_mib_by": "process"}, "tvm-cuda": grown, "tuned": {}}
    rows = [
        timed(name, [10.0]).model_copy(update={"settings": known})
        for name, known in settings.items()
    ]
    report = report_of(*rows)
    cells = csv.DictReader(io.StringIO(in_format(bench_result(report), Format.csv)))
    columns = ("without_transfers_ms", "gpu_mib", "gpu_mib_by", "gpu_percent")
    assert {row["runtime"]: [row[name] for name in columns] for row in cells} == {
        "tensorrt": ["12.2", "803.4", "process", "93"],
        "tvm-cuda": ["", "2041.5", "growth", ""],
        "tuned": ["", "", "", ""],
    }
    for text in (bench_text(report, width=200).plain, bench_markdown(report)):
        assert "GPU MiB" in text
        assert " 803 " in text
        # Not the process's own, as far as anybody knows.
        assert " ~2,042" in text


def test_a_report_from_before_these_were_measured_has_no_such_table():
    old = timed("tuned", [10.0] * 6).model_copy(
        update={"import_s": None, "cpu_ms": None, "idle_cpu_s": None}
    )
    text = bench_text(report_of(old), width=80).plain
    assert COSTS[1].title not in text
    assert "To first" not in text


def test_a_failed_runtime_has_its_reason_on_its_row():
    lines = bench_text(full_report(), width=80).plain.splitlines()
    assert any(line.startswith("torchscript  SIGSEGV (segmentation fault)") for line in lines)


def test_a_wrong_runtime_has_its_numbers_and_is_flagged_below_them():
    lines = bench_text(full_report(), width=80).plain.splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("openvino"))
    assert "35.2" in lines[row]
    assert lines[row + 1].strip().startswith("wrong outputs: relative error 0.013")


def test_a_report_ends_with_its_warnings_and_its_verdict():
    report = report_of(timed("tuned", [10.0] * 6), warnings=["the machine was busy"])
    text = bench_text(report, width=80).plain
    assert text.index("note: the machine was busy") < text.index(report.verdict)
    assert text.endswith(report.verdict)


def test_details_of_failures_are_shown_when_asked_for():
    report = report_of(failed("openvino", "it broke", detail="Traceback\n  here"))
    assert "Traceback" not in bench_text(report, width=80).plain
    assert "openvino:\n  Traceback\n    here" in bench_text(report, width=80, details=True).plain


def test_every_markdown_row_has_as_many_cells_as_the_header():
    # A bar in a reason must not start another cell.
    report = report_of(timed("tuned", [10.0]), failed("openvino", "either | or\nand more"))
    rows = [line for line in bench_markdown(report).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "either \\| or and more" in rows[-1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5321.4, "5321"),
        (150.04, "150.0"),
        (53.44, "53.4"),
        (6.125, "6.12"),
        (0.0831, "0.0831"),
        (0.00012, "1.2e-04"),
        (0.0, "0"),
        (math.nan, "-"),
    ],
)
def test_numbers_have_three_or_four_significant_digits(value, text):
    assert numbers.significant(value) == text


def test_small_ratios_keep_their_digits():
    assert numbers.ratio(1.1249) == "1.12x"
    assert numbers.ratio(0.01053) == "0.0105x"


def test_errors_that_are_not_finite_are_named():
    assert [numbers.error(value) for value in (0.0, math.inf, math.nan)] == ["0", "inf", "nan"]
