"""A report in JSON holds all of it, and is read again as it was."""

from __future__ import annotations

import json

import pytest
from bench_reports import failed, full_report, report_of, timed

from tunekit.benchmark.results import SCHEMA, Accuracy, Report
from tunekit.errors import UsageError


def test_a_report_read_again_is_equal():
    report = full_report()
    assert Report.from_json(report.to_json()) == report


def test_the_json_is_plain_and_names_its_schema():
    document = json.loads(full_report().to_json(), parse_constant=pytest.fail)
    assert document["schema"] == SCHEMA
    assert next(iter(document)) == "schema"


def test_errors_that_are_not_numbers_survive():
    row = timed("tuned", [10.0], status="wrong", reason="NaN").model_copy(
        update={
            "accuracy": Accuracy(
                mse=float("inf"),
                max_abs_error=float("inf"),
                relative_error=float("inf"),
                within=False,
            )
        }
    )
    text = report_of(row).to_json()
    json.loads(text, parse_constant=pytest.fail)
    again = Report.from_json(text).runtimes[0].accuracy
    assert again.relative_error == float("inf")
    assert not again.within


def test_raw_samples_stand_on_one_line_and_texts_are_left_alone():
    row = failed("pytorch", "wanted [1,  3] and got [ ]", detail="a\n[1,\n 2]")
    report = report_of(timed("tuned", [12.5, 13.0]), row)
    assert '"seconds": [0.012375, 0.0125, 0.01275]' in report.to_json()
    assert Report.from_json(report.to_json()) == report


def test_a_report_from_before_start_and_idling_were_measured_is_read():
    document = json.loads(full_report().to_json())
    for row in document["runtimes"]:
        for key in ("import_s", "cpu_ms", "idle_cpu_s"):
            del row[key]
    [tuned] = [
        row for row in Report.from_json(json.dumps(document)).runtimes if row.name == "tuned"
    ]
    assert (tuned.load_s, tuned.import_s, tuned.to_first_result_s) == (1.25, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "not JSON"),
        ("[]", "not a benchmark report"),
        ('{"schema": "tunekit.bench/99"}', "tunekit.bench/99"),
        (f'{{"schema": "{SCHEMA}"}}', "recipe: Field required"),
    ],
)
def test_what_is_no_report_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        Report.from_json(text)


def test_success_is_the_tuned_ones_or_anyones_where_it_took_no_part():
    other = timed("pytorch", [10.0])
    assert report_of(timed("tuned", [10.0]), failed("openvino", "crashed")).succeeded
    assert not report_of(failed("tuned", "crashed"), other).succeeded
    assert not report_of(timed("tuned", [10.0], status="wrong"), other).succeeded
    assert report_of(other, failed("openvino", "crashed")).succeeded
    assert not report_of(failed("openvino", "crashed")).succeeded
