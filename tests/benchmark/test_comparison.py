"""Who is compared with whom, what counts as right, and what the verdict says."""

from __future__ import annotations

import numpy as np
import pytest
from bench_reports import QUIET, failed, report_of, timed

from tunekit.accuracy import compare
from tunekit.benchmark.comparison import row, verdict, warnings, with_ratios
from tunekit.timing.rounds import Outcome, Turn

REFERENCE = [np.array([1.0, -2.0, 4.0], np.float32)]


def rated(*rows):
    return {one.name: one for one in with_ratios(rows, aside=frozenset({"unscheduled"}))}


def outcome(*outputs, reason=None, turns=3):
    made = [Turn(number, 0, [0.1, 0.2], 0.3, 0.6, 0.0, True) for number in range(turns)]
    return Outcome("toy", turns=made, outputs=[[array] for array in outputs], reason=reason)


def test_outputs_within_the_tolerance_are_right_and_their_errors_are_kept():
    result = row(outcome(REFERENCE[0], REFERENCE[0] + np.float32(0.002)), REFERENCE, 1e-3, compare)
    assert result.status == "ok"
    assert result.reason is None
    assert result.accuracy.relative_error == pytest.approx(0.002 / 4.0, rel=1e-3)
    assert result.accuracy.max_abs_error == pytest.approx(0.002, rel=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        REFERENCE[0] + np.float32(0.01),
        np.full(3, np.nan, np.float32),
        np.full(3, np.inf, np.float32),
        REFERENCE[0][:2],
        REFERENCE[0].astype(np.float64),
    ],
    ids=["too far", "nan", "inf", "shape", "dtype"],
)
@pytest.mark.parametrize("when", ["before the rounds", "after the rounds"])
def test_outputs_that_are_wrong_at_any_time_are_flagged(wrong, when):
    outputs = [wrong, REFERENCE[0]] if when == "before the rounds" else [REFERENCE[0], wrong]
    result = row(outcome(*outputs), REFERENCE, 1e-3, compare)
    assert result.status == "wrong"
    assert result.reason.startswith("wrong outputs: ")
    assert not result.accuracy.within


def test_a_failed_runtime_keeps_its_samples_and_reason():
    result = row(outcome(REFERENCE[0], reason="SIGSEGV (in round 3)"), REFERENCE, 1e-3, compare)
    assert (result.status, result.reason) == ("failed", "SIGSEGV (in round 3)")
    assert result.latency.samples == 6


def test_times_are_in_milliseconds_and_fps_follows_from_the_median():
    result = row(outcome(REFERENCE[0], REFERENCE[0]), REFERENCE, 1e-3, compare)
    assert result.latency.best_ms == pytest.approx(100)
    assert result.latency.median_ms == pytest.approx(150)
    assert result.fps == pytest.approx(1000 / 150)


def test_everyone_is_compared_with_the_fastest_and_the_fastest_with_the_next():
    rows = rated(timed("tuned", [10] * 6), timed("a", [20] * 6), timed("b", [15] * 6))
    assert {name: one.ratio.against for name, one in rows.items()} == {
        "tuned": "b",
        "a": "tuned",
        "b": "tuned",
    }
    assert rows["tuned"].ratio.value == pytest.approx(1.5)
    assert rows["a"].ratio.value == pytest.approx(0.5)


def test_the_wrong_the_failed_and_the_slow_are_nobodys_measure():
    rows = rated(
        timed("tuned", [10] * 6),
        timed("wrong", [1] * 6, status="wrong"),
        timed("crashed", [2] * 6, status="failed"),
        timed("unscheduled", [3] * 3),
        timed("right", [20] * 6),
        failed("missing", "not installed", status="not installed"),
    )
    assert rows["tuned"].ratio.against == "right"
    assert [rows[name].ratio for name in ("wrong", "crashed", "missing")] == [None] * 3
    assert rows["unscheduled"].ratio.against == "tuned"


def test_a_ratio_is_taken_over_the_rounds_that_both_were_in():
    # The machine was twice as slow in the round they share.
    rows = rated(timed("slow", [100.0], rounds=[3]), timed("fast", [10.0, 10.0, 10.0, 20.0, 10.0]))
    assert rows["slow"].ratio.value == pytest.approx(0.2)
    assert rows["slow"].ratio.rounds == 1


def test_the_verdict_says_how_much_faster():
    text = report_of(timed("tuned", [10] * 6), timed("onnxruntime", [11.2] * 6)).verdict
    assert text == (
        "tuned is 1.12x as fast as the best other runtime (onnxruntime); "
        "97% interval 1.12 to 1.12x, 6 rounds"
    )


def test_the_verdict_says_how_much_slower_and_does_not_dress_it_up():
    text = report_of(timed("tuned", [20] * 6), timed("openvino", [16] * 6)).verdict
    assert text.startswith(
        "tuned is slower than the best other runtime (openvino): 0.80x as fast, 1.25x the time"
    )


def test_the_verdict_admits_what_cannot_be_told_apart():
    text = report_of(
        timed("tuned", [10, 11, 10, 11, 10, 11]), timed("openvino", [11, 10, 11, 10, 11, 10])
    ).verdict
    assert text.startswith("tuned and the best other runtime (openvino) cannot be told apart")


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([failed("tuned", "SIGILL (while loading)")], "tuned failed: SIGILL (while loading)"),
        (
            [timed("tuned", [1], status="wrong", reason="wrong outputs: NaN")],
            "tuned gave wrong outputs: NaN",
        ),
        ([timed("tuned", [1])], "tuned ran, and there is no other runtime to compare it with"),
        ([failed("openvino", "no")], "no runtime could be measured"),
        ([], "no runtime could be measured"),
    ],
)
def test_the_verdict_when_there_is_nothing_to_compare(rows, text):
    assert verdict(rows) == text


def test_without_the_tuned_one_the_verdict_is_about_the_fastest():
    text = report_of(timed("pytorch", [30] * 6), timed("openvino", [10] * 6)).verdict
    assert text.startswith("openvino is 3.00x as fast as the best other runtime (pytorch)")


def test_a_quiet_benchmark_has_no_warnings():
    assert warnings([timed("tuned", [10] * 6)], QUIET, threads=2, cores=2) == []


def test_default_schedules_that_won_the_contest_are_no_reason_to_tune_longer():
    settings = {"coverage": 0.0, "candidate": "default"}
    row = timed("tuned", [10] * 6).model_copy(update={"settings": settings})
    [warning] = warnings([row], QUIET, threads=2, cores=2)
    assert "faster end to end than the records" in warning
    assert "tune it longer" not in warning


def test_what_should_not_be_believed_is_said():
    spinning = timed("tuned", [10, 10, 13, 13])
    turns = [
        turn.model_copy(update={"at_rest": False, "waiting_cpu_s": turn.wall_s})
        for turn in spinning.rounds
    ]
    settings = {"coverage": 0.42}
    noise = QUIET.model_copy(update={"steal_share": 0.2, "others_share": 0.3})
    found = warnings(
        [spinning.model_copy(update={"rounds": turns, "settings": settings})],
        noise,
        threads=4,
        cores=2,
    )
    for words in (
        "4 threads on 2 usable cores",
        "4 rounds: a 95 % interval needs 6",
        "20% of the CPU time to other machines",
        "other processes used 30%",
        "records cover 42% of tuned's estimated latency",
        "tuned kept its threads spinning",
        "waiting runtimes used 50% of the CPU in tuned's turns",
        "tuned strays by 26% from round to round",
    ):
        assert any(words in line for line in found), words
    assert len(found) == 8


def test_operators_that_run_in_slow_kernels_are_named():
    delegating = timed("executorch", [10.0]).model_copy(
        update={"settings": {"undelegated": {"aten.roll": 2, "aten.sort": 1}}}
    )
    notes = warnings([delegating], QUIET, threads=2, cores=2)
    assert (
        "3 operators of executorch run in portable kernels, which are slow: "
        "2 x aten.roll, 1 x aten.sort"
    ) in notes


def test_what_is_not_known_of_a_gpu_is_said_once():
    missing = "NVML's package is not installed: pip install 'nvidia-ml-py>=12'"
    rows = [
        timed(name, [10.0] * 6).model_copy(update={"settings": {"gpu_problem": missing}})
        for name in ("pytorch-cuda", "tensorrt")
    ]
    assert warnings([*rows, timed("onnxruntime", [10.0] * 6)], QUIET, threads=2, cores=2) == [
        f"GPU memory and utilisation are not all known: {missing}"
    ]


def test_memory_that_is_known_by_growth_is_said_to_be():
    known = {"pytorch-cuda": "process", "tensorrt": "growth", "tvm-cuda": "growth"}
    rows = [
        timed(name, [10.0] * 6).model_copy(update={"settings": {"gpu_mib": 9.0, "gpu_mib_by": by}})
        for name, by in known.items()
    ]
    [note] = warnings(rows, QUIET, threads=2, cores=2)
    assert note.startswith("GPU memory of tensorrt, tvm-cuda (~) is what more was in use")
