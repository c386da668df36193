"""The statistics against numpy, against counting, and against what they promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.timing.statistics import (
    median,
    median_interval,
    paired_ratio,
    quantile,
    relative_spread,
)

seconds = st.floats(min_value=1e-7, max_value=1e3)


@given(st.lists(seconds, min_size=1, max_size=40), st.floats(min_value=0, max_value=1))
def test_quantiles_are_those_of_numpy(values: list[float], q: float) -> None:
    assert quantile(values, q) == pytest.approx(np.quantile(values, q), rel=1e-9)


@given(st.lists(seconds, min_size=1, max_size=40))
def test_the_median_is_that_of_numpy(values: list[float]) -> None:
    assert median(values) == pytest.approx(np.median(values), rel=1e-9)


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_quantile_outside_0_to_1_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        quantile([1.0], q)


def test_statistics_of_nothing_are_refused_and_not_zero() -> None:
    for function in (median, median_interval):
        with pytest.raises(ValueError, match="no values"):
            function([])


@pytest.mark.parametrize("count", range(1, 13))
def test_the_intervals_confidence_is_its_share_of_all_ways_to_lie_around_the_median(
    count: int,
) -> None:
    # Every value lies below or above the true median with even odds: count the outcomes in which
    # the interval's two order statistics have it between them.
    interval = median_interval(range(count))
    rank = int(interval.low) + 1
    covered = sum(
        rank <= sum(sides) <= count - rank for sides in itertools.product((0, 1), repeat=count)
    )
    assert interval.confidence == pytest.approx(covered / 2**count)


def test_six_values_are_needed_for_95_percent() -> None:
    assert median_interval(range(5)).confidence < 0.95 <= median_interval(range(6)).confidence


def test_the_interval_is_the_narrowest_that_keeps_the_confidence() -> None:
    interval = median_interval(range(20))
    assert (interval.low, interval.high) == (5, 14)  # the 6th and 15th, as in Conover's table
    assert 0.95 <= interval.confidence < 0.97


def test_the_interval_covers_the_true_median_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        interval = median_interval(random.lognormal(0.0, 1.0, 15).tolist())
        covered += interval.low <= 1.0 <= interval.high
    assert covered / 2000 == pytest.approx(interval.confidence, abs=0.02)


def test_a_slow_minute_of_the_machine_cancels_out_of_the_ratio() -> None:
    # Both run at half their speed in half of the rounds; mine takes half the other's time.
    machine = [1.0, 2.0] * 4
    ratio = paired_ratio([1.0 * slow for slow in machine], [2.0 * slow for slow in machine])
    assert ratio.value == 2.0
    assert (ratio.interval.low, ratio.interval.high) == (2.0, 2.0)
    assert ratio.rounds == 8


def test_ratios_of_different_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="same rounds"):
        paired_ratio([1.0, 2.0], [1.0])


def test_the_spread_is_half_the_values_relative_to_the_median() -> None:
    assert relative_spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)
