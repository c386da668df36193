"""What every measurer promises, whatever it measures on."""

from __future__ import annotations

import math
from abc import abstractmethod

import pytest
import wild_kernels as wild

from tunekit.measure.measurer import Candidate, Measurer, MeasureResult


class MeasurerContract:
    """Tests for a measurer; who inherits them gives a `measurer` fixture and candidates."""

    @pytest.fixture
    @abstractmethod
    def measurer(self) -> Measurer:
        """What is tested; may be the same for all tests."""

    def good(self, key: int) -> Candidate:
        """A candidate that can be measured, another kernel for each key."""
        return wild.candidate(key, wild.good(key + 1))

    def bad(self, key: int) -> Candidate:
        """A candidate that fails."""
        return wild.candidate(key, "{nothing")

    def test_each_candidate_has_exactly_one_result_under_its_key(self, measurer: Measurer) -> None:
        batch = [self.good(0), self.bad(1), self.good(2), self.bad(3)]
        results = list(measurer.measure(batch))
        assert sorted(result.key for result in results) == [0, 1, 2, 3]

    def test_a_result_is_seconds_or_a_failure_with_its_reason(self, measurer: Measurer) -> None:
        good, bad = _by_key(measurer, [self.good(0), self.bad(1)])
        assert (good.failure, good.text) == (None, "")
        assert good.samples_s
        assert all(0 < second < math.inf for second in good.samples_s)
        assert good.seconds is not None
        assert 0 < good.seconds < math.inf
        assert good.measure_s > 0
        assert bad.failure is not None
        assert bad.text
        assert (bad.samples_s, bad.seconds, bad.calibration_s, bad.slowdown) == (None,) * 4

    def test_of_several_rounds_the_samples_of_all_are_one_result(self, measurer: Measurer) -> None:
        # Without another that it could lose to, a candidate takes part in all.
        (result,) = _by_key(measurer, [self.good(0)], rounds=3)
        assert result.samples_s is not None
        assert len(result.samples_s) >= 3

    def test_candidates_that_differ_in_their_key_only_have_a_result_each(
        self, measurer: Measurer
    ) -> None:
        twin = Candidate(**{**vars(self.good(0)), "key": 7})
        first, second = _by_key(measurer, [self.good(0), twin])
        assert (first.key, second.key) == (0, 7)
        assert first.failure is second.failure is None

    def test_an_empty_batch_has_no_results(self, measurer: Measurer) -> None:
        assert list(measurer.measure([])) == []

    def test_what_is_left_of_a_batch_that_is_given_up_is_not_in_the_next(
        self, measurer: Measurer
    ) -> None:
        batch = iter(measurer.measure([self.good(key) for key in (10, 11, 12)]))
        next(batch)
        batch.close()  # type: ignore[attr-defined]
        assert [result.key for result in _by_key(measurer, [self.good(0), self.good(1)])] == [0, 1]

    def test_it_may_be_started_before_it_is_needed_and_twice(self, measurer: Measurer) -> None:
        measurer.start()
        measurer.start()
        (result,) = _by_key(measurer, [self.good(0)])
        assert result.failure is None

    def test_it_measures_again_after_it_was_closed(self, measurer: Measurer) -> None:
        measurer.close()
        measurer.close()
        (result,) = _by_key(measurer, [self.good(0)])
        assert result.failure is None


def _by_key(
    measurer: Measurer, candidates: list[Candidate], rounds: int = 1
) -> list[MeasureResult]:
    """The results in the order of their keys."""
    return sorted(measurer.measure(candidates, rounds), key=lambda result: result.key)
