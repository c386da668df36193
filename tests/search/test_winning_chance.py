"""Algorithms that compete for one convolution: who may still win, and who gets the trials."""

from __future__ import annotations

from tunekit.search.task_scheduler import Floor, TaskState, next_task, winning_chances

DIRECT, WINOGRAD = "direct 1 64 64 56 56", "winograd4 1 64 64 56 56"


def state(best_s: float | None, implementation: str | None, trials: int = 8) -> TaskState:
    return TaskState(
        weight=1,
        flops=1e9,
        ceiling=1000,
        implementation=implementation,
        trials=trials,
        best_s=best_s,
    )


def chance(best_s: float, trials: int) -> float:
    """Of an algorithm with these seconds against one that takes 1 s."""
    return winning_chances([state(1.0, DIRECT), state(best_s, WINOGRAD, trials)])[1]


def test_the_chance_falls_with_the_distance_and_with_the_trials() -> None:
    assert chance(0.9, 100) == 1.0
    assert 0 < chance(1.5, 8) < chance(1.1, 8) < 1.0
    assert chance(1.1, 64) < chance(1.1, 16)
    assert chance(2.5, 8) == 0.0


def test_no_algorithm_is_given_up_before_a_fair_number_of_trials() -> None:
    assert chance(9.0, 7) == 1.0
    assert winning_chances([state(1.0, DIRECT), state(None, WINOGRAD)]) == [1.0, 1.0]


def test_tasks_with_one_algorithm_have_their_full_chance() -> None:
    assert winning_chances([state(1.0, None), state(None, None)]) == [1.0, 1.0]


def test_an_algorithm_that_lost_gets_no_more_trials_not_even_its_floor() -> None:
    states = [state(1.0, DIRECT), state(5.0, WINOGRAD, trials=9), state(0.5, None, trials=20)]
    assert next_task(states, Floor(16, strict=True)) == 0
    states[0].trials = 16
    # The loser would have the most to gain by itself; of the others the last is at the peak.
    assert next_task(states, Floor(16, strict=True)) == 0


def test_the_leading_algorithm_goes_on() -> None:
    states = [state(1.0, DIRECT, trials=40), state(0.5, WINOGRAD, trials=40)]
    assert next_task(states, Floor(16)) == 1
