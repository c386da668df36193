"""How a budget is shared: everyone first, then whoever is expected to gain most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.search.task_scheduler import (
    Floor,
    Peak,
    TaskState,
    batch_trials,
    expected_gain,
    floor_trials,
    next_task,
)

PEAK = Peak(1e9, 0.0)


def _state(
    weight: float = 1,
    *,
    flops: float = 1e6,
    ceiling: int = 10_000,
    trials: int = 16,
    best_s: float | None = 1e-3,
) -> TaskState:
    return TaskState(weight=weight, flops=flops, ceiling=ceiling, trials=trials, best_s=best_s)


def _spend(states: list[TaskState], budget: int, speed: float = 0.9) -> int:
    """Shares a budget out as the tuner does, each batch making its task faster by `speed`."""
    floor, batch, done = (
        Floor(floor_trials(budget, len(states))),
        batch_trials(budget, len(states)),
        0,
    )
    while done < budget and (position := next_task(states, floor)) is not None:
        state = states[position]
        assert state.open
        size = min(batch, budget - done, state.ceiling - state.trials)
        assert size > 0
        done += size
        state.trials += size
        state.best_s = speed * state.best_s if state.best_s else 1e-3
        state.record_best()
    return done


@given(budget=st.integers(0, 3000), ceilings=st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_the_budget_is_spent_exactly_or_every_task_is_at_its_ceiling(
    budget: int, ceilings: list[int]
) -> None:
    states = [_state(ceiling=ceiling, trials=0, best_s=None) for ceiling in ceilings]
    done = _spend(states, budget)
    assert done == sum(state.trials for state in states) == min(budget, sum(ceilings))
    assert all(state.trials <= state.ceiling for state in states)


@given(tasks=st.integers(1, 150), more=st.integers(0, 2000))
def test_every_task_is_reached_as_soon_as_the_budget_has_a_trial_for_each(
    tasks: int, more: int
) -> None:
    states = [_state(weight=1 + i, trials=0, best_s=None) for i in range(tasks)]
    _spend(states, tasks + more)
    assert all(state.trials >= 1 for state in states)


def test_a_budget_below_the_number_of_tasks_goes_to_the_first_ones() -> None:
    states = [_state(trials=0, best_s=None) for _ in range(10)]
    assert _spend(states, 4) == 4
    assert [state.trials for state in states] == [1] * 4 + [0] * 6


@given(budget=st.integers(1, 100_000), tasks=st.integers(1, 200))
def test_floors_take_half_of_a_budget_at_most(budget: int, tasks: int) -> None:
    floor = floor_trials(budget, tasks)
    assert 1 <= floor <= 16
    assert floor == 1 or floor * tasks <= budget / 2


@given(budget=st.integers(1, 100_000), tasks=st.integers(1, 200))
def test_a_batch_is_neither_empty_nor_larger_than_a_tasks_share(budget: int, tasks: int) -> None:
    batch = batch_trials(budget, tasks)
    assert 1 <= batch <= 32
    assert batch == 1 or batch * tasks <= budget


def test_floors_come_before_gains() -> None:
    promising = _state(weight=1000, trials=8, best_s=10.0)
    small = _state(weight=100, trials=7)
    assert next_task([promising, small], Floor(8, strict=True)) == 1
    assert next_task([_state(best_s=1e-2), _state(trials=7)], Floor(8)) == 1
    assert next_task([_state(best_s=1e-2), _state(trials=8)], Floor(8)) == 0


def test_a_task_that_hardly_takes_time_has_had_enough_with_its_first_batch() -> None:
    heavy, tiny = _state(best_s=1.0), _state(trials=4, best_s=1e-4)
    assert next_task([heavy, tiny], Floor(8)) == 0
    assert next_task([heavy, tiny], Floor(8, strict=True)) == 1


def test_what_other_sessions_measured_counts_for_the_floor() -> None:
    known, fresh = _state(trials=0, best_s=1e-2), _state(trials=7)
    known.known = 100
    assert next_task([known, fresh], Floor(8)) == 1


def test_a_task_that_only_moves_data_is_judged_by_how_fast_it_moves_it() -> None:
    convolution = _state(flops=1e9, best_s=1e-2)
    copy_ = _state(flops=1e3, best_s=1e-3)
    copy_.bytes = 1e6
    peak = Peak.of([convolution, copy_])
    assert peak.ideal_s(copy_) == pytest.approx(1e-3)
    assert expected_gain(copy_, peak) < expected_gain(_state(flops=1e3, best_s=1e-3), peak)


def test_a_task_that_stopped_improving_is_expected_to_gain_ever_less() -> None:
    def gain(last: float, best_s: float = 1e-3) -> float:
        state = _state(trials=200, best_s=best_s)
        state.bests = [(16, 2e-3), (100, last), (200, best_s)]
        return expected_gain(state, Peak(1e9, 0))

    assert gain(last=1e-3) < gain(last=2e-3)


def test_a_task_that_runs_more_often_gets_more() -> None:
    rare, frequent = _state(1, trials=0, best_s=None), _state(10, trials=0, best_s=None)
    _spend([rare, frequent], 600)
    assert frequent.trials > 2 * rare.trials


def test_a_task_that_could_run_as_well_as_the_best_one_gets_the_batch() -> None:
    efficient = _state(flops=1e9, best_s=1e-2)
    behind = _state(flops=1e8, best_s=1e-2)
    assert next_task([efficient, behind], Floor(0)) == 1


def test_a_task_that_still_gains_is_preferred_to_one_that_stands_still() -> None:
    gaining, still = _state(trials=64), _state(trials=64)
    gaining.bests = [(32, 2e-3), (64, 1e-3)]
    still.bests = [(32, 1e-3), (64, 1e-3)]
    assert expected_gain(gaining, PEAK) > expected_gain(still, PEAK)
    assert next_task([still, gaining], Floor(0)) == 1


def test_trials_spent_in_vain_make_a_task_less_promising() -> None:
    gains = [expected_gain(_state(trials=trials), PEAK) for trials in (16, 64, 256)]
    assert gains[0] > gains[1] > gains[2]


def test_a_task_that_never_ran_is_tried_again_but_not_for_ever() -> None:
    gains = [expected_gain(_state(trials=trials, best_s=None), PEAK) for trials in (1, 16, 63, 64)]
    assert gains[0] > gains[1] > gains[2] > gains[3] == 0


@pytest.mark.parametrize("floor", [0, 100])
def test_who_is_exhausted_or_at_the_ceiling_gets_nothing(floor: int) -> None:
    exhausted, full, open_ = _state(1000), _state(1000, ceiling=16), _state(1)
    exhausted.exhausted = True
    assert next_task([exhausted, full, open_], Floor(floor)) == 2
    assert next_task([exhausted, full], Floor(floor)) is None


def test_equal_tasks_are_taken_in_their_order() -> None:
    assert next_task([_state(), _state(), _state()], Floor(0)) == 0


def test_no_tasks_are_no_trouble() -> None:
    assert next_task([], Floor(floor_trials(100, 0))) is None
    assert batch_trials(100, 0) >= 1
