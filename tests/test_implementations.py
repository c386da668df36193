"""Kernels of which a library has one or the other: only the fastest counts."""

from __future__ import annotations

import pytest

from tunekit.implementations import model_latency_s, selected


def test_of_each_site_the_fastest_algorithm_counts_with_all_its_kernels() -> None:
    kernels = [("direct a", 6.0), ("winograd4 a", 2.0), ("winograd4 a", 1.5), (None, 1.0)]
    assert model_latency_s(kernels) == pytest.approx(4.5)
    assert model_latency_s([*kernels, ("winograd4 a", 9.0)]) == pytest.approx(7.0)


def test_an_algorithm_that_lacks_a_time_cannot_be_the_fastest() -> None:
    assert model_latency_s([("direct a", 6.0), ("winograd4 a", 1.0), ("winograd4 a", None)]) == 6.0


def test_it_is_not_known_before_all_that_must_run_has_a_time() -> None:
    assert model_latency_s([("direct a", None), ("winograd4 a", None), (None, 1.0)]) is None
    assert model_latency_s([("direct a", 1.0), (None, None)]) is None
    assert model_latency_s([]) is None


def test_what_runs_is_what_has_no_rival_or_won() -> None:
    kernels = [("direct a", 6.0), ("winograd4 a", 2.0), ("winograd4 a", 1.5), (None, None)]
    assert selected(kernels) == [False, True, True, True]
