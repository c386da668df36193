"""The noise guard's arithmetic, and that its kernel runs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import wild_kernels as wild

from tunekit.machine.target import ResolvedTarget
from tunekit.measure.local.measurer import LocalMeasurer
from tunekit.measure.measurer import MeasureOptions, MeasureResult
from tunekit.measure.noise_guard import (
    Reading,
    UsualSpeed,
    disturbed,
    quiet_level,
    undisturbed_seconds,
)
from tunekit.measure.timing import Bests, Measurement


def test_the_fastest_fifth_of_the_samples_counts() -> None:
    assert quiet_level([9.0, 1.0, 7.0, 3.0, 8.0, 9.0, 9.0, 9.0, 9.0, 9.0]) == 2.0
    assert quiet_level([5.0, 4.0]) == 4.0


def test_only_a_host_that_was_slow_all_the_time_corrects_seconds_and_less_than_in_proportion() -> (
    None
):
    slow = [Reading((6.0,), calibration_s=3.0), Reading((6.1,), calibration_s=3.1)]
    assert 6.0 / 2 < undisturbed_seconds(slow, usual_s=1.5) < 6.0
    quiet = Reading((6.5,), calibration_s=1.6)
    assert undisturbed_seconds([*slow, quiet], usual_s=1.5) == 6.5
    assert undisturbed_seconds([Reading((6.0,), calibration_s=0.5)], usual_s=1.0) == 6.0


def test_the_least_disturbed_readings_count() -> None:
    readings = [
        Reading((1.0,), calibration_s=4.0),
        Reading((5.0,), calibration_s=1.0),
        Reading((4.0,), calibration_s=1.02),
    ]
    assert undisturbed_seconds(readings, usual_s=1.0) == 4.0


def test_only_a_host_that_was_slow_all_the_time_is_waited_for() -> None:
    slow, quiet = Reading((6.0,), calibration_s=1.5), Reading((5.0,), calibration_s=1.05)
    assert disturbed([slow, slow], usual_s=1.0)
    assert not disturbed([slow, quiet], usual_s=1.0)
    assert not disturbed([slow], usual_s=None)
    assert not disturbed([Reading((6.0,))], usual_s=1.0)


def test_without_calibration_the_quiet_level_stands() -> None:
    assert undisturbed_seconds([Reading((6.0, 5.0))], usual_s=None) == 5.0
    assert undisturbed_seconds([Reading((6.0, 5.0), calibration_s=2.0)], usual_s=None) == 5.0


def test_no_candidate_loses_to_what_it_took_itself_in_an_earlier_turn() -> None:
    bests, usual = Bests(), UsualSpeed()
    fast, slow = Measurement(noise_guard=False), Measurement(noise_guard=False)
    for key, measured, seconds in [(0, fast, 1.0), (1, slow, 9.0), (0, fast, 3.0)]:
        measured.add([Reading((seconds,))], usual)
        bests.note("workload", key, measured.seconds)
    assert fast.seconds == 2.0
    assert not fast.has_lost(bests.beside("workload", 0), usual.seconds)
    assert slow.has_lost(bests.beside("workload", 1), usual.seconds)
    assert bests.beside("another", 0) == math.inf


def test_the_usual_speed_is_a_low_quantile_of_what_was_seen() -> None:
    usual = UsualSpeed()
    assert usual.seconds is None
    usual.note(3.0)
    assert usual.seconds == 3.0
    for seconds in [0.1, *[1.0] * 50, *[4.0] * 50]:
        usual.note(seconds)
    assert usual.seconds == 1.0


@pytest.fixture(scope="module")
def measurer(native: ResolvedTarget) -> Iterator[LocalMeasurer]:
    options = MeasureOptions(native.spec, "cpu", 4, 1, 60, 30, 2, 2, "warm", 2 << 30)
    with LocalMeasurer(options) as measurer:
        yield measurer


def _measure(measurer: LocalMeasurer, *numbers: int) -> list[MeasureResult]:
    candidates = [wild.candidate(key, wild.good(number)) for key, number in enumerate(numbers)]
    return sorted(measurer.measure(candidates), key=lambda result: result.key)


def test_an_result_has_all_its_samples_and_says_how_slow_the_host_was(
    measurer: LocalMeasurer,
) -> None:
    results = _measure(measurer, 1, 2)
    assert len(results) == 2
    for result in results:
        assert result.samples_s is not None
        assert len(result.samples_s) >= measurer.options.repeat
        assert result.calibration_s is not None
        assert result.slowdown is not None
        assert result.seconds is not None
        score_s = math.fsum(result.samples_s) / len(result.samples_s)
        assert math.isclose(result.seconds * result.slowdown, score_s)


def test_equal_candidates_of_a_batch_are_measured_once(measurer: LocalMeasurer) -> None:
    one, other, same = _measure(measurer, 1, 2, 1)
    assert [result.key for result in (one, other, same)] == [0, 1, 2]
    assert one.samples_s == same.samples_s
    assert one.samples_s != other.samples_s
