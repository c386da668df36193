"""What a build may ask of a benchmark, and what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_reports import failed, report_of, timed

from tunekit.benchmark.gate import Demands, contestants, judge, steadiness
from tunekit.benchmark.results import Report
from tunekit.errors import UsageError
from tunekit.recipe import load_recipe

# Rounds that stray by a percent, enough of them for an interval of 95 %.
STEADY = [1.0, 1.01, 0.99, 1.0, 1.005, 0.995, 1.0, 1.01]
WILD = [1.0, 1.3, 0.8, 1.1, 0.7, 1.2, 1.0, 1.25]


def race(tuned: float, other: float = 12.0, strays: list[float] = STEADY) -> Report:
    """Milliseconds of the library and of ONNX Runtime."""
    return report_of(
        timed("tuned", [tuned * factor for factor in strays]),
        timed("onnxruntime", [other * factor for factor in reversed(STEADY)]),
    )


def answers(report: Report, **demands: object) -> list[str]:
    return [finding.answer for finding in judge(report, Demands(**demands))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "answer"),
    [
        (race(10.0), "passed"),
        (race(9.0), "passed"),
        # Another machine, twice as slow in everything.
        (race(20.0, 24.0), "passed"),
        (race(12.0), "failed"),
        (race(10.4, strays=WILD), "cannot tell"),
    ],
)
def test_only_a_slowdown_beyond_doubt_fails(now: Report, answer: str) -> None:
    assert answers(now, baseline=race(10.0), max_slowdown=0.1) == [answer]


def test_what_is_found_says_what_it_rests_on() -> None:
    [finding] = judge(race(12.0), Demands(baseline=race(10.0), max_slowdown=0.05))
    assert "against onnxruntime 1.00x as fast, 1.20x in the baseline: 20.0% slower" in finding.text
    assert finding.text.endswith("allowed 5.0% slower")


def test_too_few_rounds_are_no_answer() -> None:
    few, enough = race(20.0, strays=STEADY[:2]), race(10.0)
    for now, before in ((few, enough), (race(20.0), race(10.0, strays=STEADY[:2]))):
        [finding] = judge(now, Demands(baseline=before))
        assert finding.answer == "cannot tell"
        assert finding.text.endswith("an answer needs --rounds 6 or more")
    assert answers(few, faster_than=("onnxruntime",)) == ["cannot tell"]
    again = report_of(timed("tuned", [10.0]), timed("tuned-again", [12.0]))
    assert steadiness(again).answer == "cannot tell"


def test_another_number_of_threads_is_no_answer() -> None:
    now = race(20.0)
    more = now.model_copy(update={"protocol": now.protocol.model_copy(update={"threads": 16})})
    [finding] = judge(more, Demands(baseline=race(10.0)))
    assert finding.answer == "cannot tell"
    assert finding.text.endswith("on 16 threads here, on 2 in the baseline (--threads 2)")


def test_a_measure_that_fell_out_is_no_answer_and_says_why() -> None:
    for row, reason in (
        (failed("onnxruntime", "SIGKILL"), "onnxruntime is no measure: SIGKILL"),
        (
            timed("onnxruntime", [12.0] * 6, status="wrong", reason="wrong outputs"),
            "onnxruntime is no measure: wrong outputs",
        ),
        (timed("pytorch", [12.0] * 6), "onnxruntime took no part"),
    ):
        now = report_of(timed("tuned", [10.0] * 6), row)
        [finding] = judge(now, Demands(baseline=race(10.0), reference="onnxruntime"))
        assert (finding.answer, finding.text) == ("cannot tell", reason)


def test_another_version_of_the_measure_is_said() -> None:
    def on(version: str) -> Report:
        report = race(10.0)
        versions = {**report.environment.versions, "onnxruntime": version}
        environment = report.environment.model_copy(update={"versions": versions})
        return report.model_copy(update={"environment": environment})

    [finding] = judge(on("1.24"), Demands(baseline=on("1.23")))
    assert finding.answer == "passed"
    assert finding.text.endswith("onnxruntime is 1.24 here, 1.23 in the baseline")


def test_whoever_a_demand_speaks_of_takes_part(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(
        "name: small\n"
        "model: {source: 'torchvision:resnet18', inputs: [{name: x, shape: [1, 3, 64, 64]}]}\n"
        "reference: {runtimes: [pytorch]}\n"
    )
    recipe = load_recipe(file)
    demands = Demands(reference="onnxruntime", faster_than=("openvino", "pytorch"))
    assert contestants(recipe, None, demands) == [
        *("tuned", "default", "unscheduled", "pytorch", "onnxruntime", "openvino")
    ]
    assert contestants(recipe, ["mnn"], Demands(min_accuracy=0.9)) == ["mnn", "tuned"]


def test_the_fastest_runtime_that_ran_in_both_is_the_measure() -> None:
    now = report_of(
        timed("tuned", [10.0] * 6), timed("pytorch", [30.0] * 6), timed("openvino", [9.0] * 6)
    )
    before = report_of(timed("tuned", [10.0] * 6), timed("pytorch", [30.0] * 6))
    [finding] = judge(now, Demands(baseline=before))
    assert finding.text.startswith("against pytorch")


@pytest.mark.parametrize(
    ("other", "answer"), [(12.0, "passed"), (8.0, "failed"), (10.0, "cannot tell")]
)
def test_a_library_may_have_to_be_faster_than_a_runtime(other: float, answer: str) -> None:
    assert answers(race(10.0, other), faster_than=("onnxruntime",)) == [answer]


def test_whether_one_that_did_not_run_is_beaten_nobody_can_tell() -> None:
    assert answers(race(10.0), faster_than=("openvino",)) == ["cannot tell"]
    crashed = timed("tuned", [10.0] * 6).model_copy(
        update={"status": "failed", "reason": "SIGSEGV"}
    )
    report = report_of(crashed, timed("onnxruntime", [12.0] * 6))
    assert answers(report, faster_than=("onnxruntime",)) == ["failed"]


@pytest.mark.parametrize(
    ("error", "answer"), [(1e-6, "passed"), (1e-2, "failed"), (float("nan"), "failed")]
)
def test_outputs_have_to_be_as_exact_as_asked(error: float, answer: str) -> None:
    report = report_of(timed("tuned", [10.0] * 3, error=error))
    assert answers(report, min_accuracy=0.999) == [answer]


@pytest.mark.parametrize(
    ("settings", "answer"),
    [({"coverage": 0.9}, "passed"), ({"coverage": 0.7}, "failed"), ({}, "failed")],
)
def test_records_have_to_cover_as_much_as_asked(settings: dict[str, float], answer: str) -> None:
    row = timed("tuned", [10.0] * 3).model_copy(update={"settings": settings})
    assert answers(report_of(row), min_coverage=0.8) == [answer]


def test_a_baseline_of_another_model_is_refused() -> None:
    before = race(10.0)
    other = before.model_copy(
        update={"model": before.model.model_copy(update={"digest": "another"})}
    )
    with pytest.raises(UsageError, match="the baseline is of another model"):
        judge(race(10.0), Demands(baseline=other))


def test_a_baseline_without_a_common_runtime_is_refused() -> None:
    alone = report_of(timed("tuned", [10.0] * 6))
    with pytest.raises(UsageError, match="no other runtime ran to its end"):
        judge(race(10.0), Demands(baseline=alone))


@pytest.mark.parametrize(
    ("again", "strays", "answer"),
    [(10.05, STEADY, "passed"), (10.6, STEADY, "failed"), (10.0, WILD, "failed")],
)
def test_a_machine_on_which_a_library_differs_from_itself_is_unstable(
    again: float, strays: list[float], answer: str
) -> None:
    report = report_of(
        timed("tuned", [10.0 * factor for factor in STEADY]),
        timed("tuned-again", [again * factor for factor in strays]),
    )
    finding = steadiness(report)
    assert finding.answer == answer
    assert ("unstable" in finding.text) == (answer == "failed")
