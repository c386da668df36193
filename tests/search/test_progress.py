"""What a session is expected to gain, and when it gains nothing any more."""

from __future__ import annotations

import pytest

from tunekit.search.phase_clock import PhaseClock
from tunekit.search.progress import FORECAST_TRIALS, Forecast, forecast, on_plateau


def _power(exponent: float, last: int) -> list[tuple[int, float]]:
    return [(trials, 10 * trials**exponent) for trials in range(20, last + 1, 20)]


def test_a_latency_that_falls_as_a_power_of_the_trials_is_forecast_to_go_on_so() -> None:
    found = forecast(_power(-0.2, 400), 400, trials_per_minute=100)
    assert found is not None
    expected = 1 - (600 / 400) ** -0.2
    assert found.least_gain == pytest.approx(expected)
    assert found.most_gain == pytest.approx(expected)
    assert found.trials == FORECAST_TRIALS
    assert found.seconds == pytest.approx(60 * FORECAST_TRIALS / 100)


def test_a_gain_that_dries_up_makes_a_range() -> None:
    curve = [(100, 2.0), (200, 1.5), (300, 1.0), (400, 1.0)]
    found = forecast(curve, 400, None)
    assert found is not None
    assert found.least_gain == 0
    assert 0 < found.most_gain < 1
    assert found.seconds is None


@pytest.mark.parametrize(
    ("curve", "done"), [([], 100), ([(90, 1.0)], 90), ([(80, 2.0), (90, 1.0)], 100)]
)
def test_too_short_a_curve_is_no_ground_for_a_forecast(
    curve: list[tuple[int, float]], done: int
) -> None:
    assert forecast(curve, done, 100) is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Forecast(200, 240, 0.01, 0.03), "about 4 min, expected gain 1-3 %"),
        (Forecast(200, 45, 0.02, 0.021), "about 45 s, expected gain 2 %"),
        (Forecast(200, None, 0, 0.004), "expected gain below 1 %"),
    ],
)
def test_a_forecast_in_words(found: Forecast, words: str) -> None:
    assert found.in_words == f"next 200 trials: {words}"


def test_a_plateau_is_a_percent_not_gained_in_so_many_trials() -> None:
    curve = [(50, 2.0), (100, 1.0), (150, 0.995), (200, 0.995)]
    assert on_plateau(curve, 200, patience=100)
    assert not on_plateau(curve, 200, patience=101)
    assert not on_plateau(curve, 200, patience=180)
    assert not on_plateau([], 1000, patience=1)


def test_a_phase_within_another_interrupts_it_and_seconds_are_taken_once() -> None:
    clock = PhaseClock()
    with clock.phase("outer"), clock.phase("inner"):
        pass
    total = dict(clock.seconds)
    assert set(total) == {"outer", "inner"}
    taken = clock.take()
    assert taken == {phase: seconds for phase, seconds in total.items() if seconds > 0}
    assert clock.take() == {}
    clock.move("inner", "third", 1e9)
    assert clock.seconds["inner"] == 0
    assert clock.seconds["third"] == total["inner"]
