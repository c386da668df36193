"""Algorithms that compete for one convolution: what the model takes, and who may still win."""

from __future__ import annotations

import pytest

from tunekit.graph.algorithms import Place, Site
from tunekit.search.allocation import TaskState
from tunekit.search.rivals import standings

SITE = Site(1, 64, 64, 56, 56)
DIRECT, WINOGRAD = Place(SITE, "direct"), Place(SITE, "winograd4")


def state(best_s: float | None, trials: int = 8, weight: float = 1) -> TaskState:
    return TaskState(weight=weight, flops=1e9, ceiling=1000, trials=trials, best_s=best_s)


def test_only_the_fastest_algorithm_counts_in_the_models_latency() -> None:
    states = [state(2.0, weight=3), state(1.0, weight=2), state(1.5), state(0.25, weight=4)]
    found = standings(states, [DIRECT, WINOGRAD, WINOGRAD, None])
    # Winograd in both of its kernels, 2 * 1.0 + 1.5, against 3 * 2.0.
    assert found.latency_s == pytest.approx(3.5 + 1.0)
    assert found.complete


def test_without_rivals_all_tasks_count_and_have_their_full_chance() -> None:
    found = standings([state(1.0, weight=2), state(3.0)], [None, None])
    assert (found.latency_s, found.chances, found.complete) == (5.0, (1.0, 1.0), True)


def test_the_latency_is_known_when_one_algorithm_of_each_site_is() -> None:
    assert standings([state(2.0), state(None)], [DIRECT, WINOGRAD]).complete
    assert not standings([state(None), state(None)], [DIRECT, WINOGRAD]).complete
    assert not standings([state(2.0), state(None)], [DIRECT, None]).complete


def test_who_is_behind_loses_its_chance_with_distance_and_with_trials() -> None:
    def chance(best_s: float, trials: int) -> float:
        return standings([state(1.0), state(best_s, trials)], [DIRECT, WINOGRAD]).chances[1]

    assert chance(0.9, 100) == 1.0
    assert 0 < chance(1.5, 8) < chance(1.1, 8) < 1.0
    assert chance(1.1, 64) < chance(1.1, 16)
    assert chance(2.5, 8) == 0.0


def test_nobody_is_given_up_before_a_fair_number_of_trials() -> None:
    found = standings([state(1.0), state(9.0, trials=7)], [DIRECT, WINOGRAD])
    assert found.chances == (1.0, 1.0)
