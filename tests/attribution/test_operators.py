"""Order and shares: what follows from measurements, whatever they are."""

from __future__ import annotations

import pytest

from tunekit.attribution.operators import Profiled, break_down, sorted_operators
from tunekit.library.manifest import TaskEntry

PEAK = {
    "flops_per_s": 100.0,
    "bytes_per_s": 10.0,
    "memory_bytes_per_s": 5.0,
    "streamed_mib": 1,
    "launch_s": 0.0,
}


def task(name, flops):
    return TaskEntry(
        name=name,
        structural_hash=name,
        weight=1,
        flops=flops,
        latency_s=None,
        trial_id=None,
        space="generic",
    )


def call(name, seconds, moved):
    return {
        "function": name,
        "shape": [1],
        "elements": 1,
        "bytes": moved,
        "seconds": seconds,
        "best_s": seconds,
    }


def profile(*calls):
    return {"calls": list(calls), "builtins_s": 0.0, "runs": 1, "peaks": [PEAK]}


@pytest.fixture
def operators():
    """At half the compute peak, at the memory peak, faster than memory, and unknown."""
    library = Profiled(
        "tuned",
        "ok",
        [10.0],
        [
            profile(
                call("half", 2.0, 1),
                call("full", 3.0, 30),
                call("cached", 1.0, 20),
                call("half", 2.0, 1),
                call("unknown", 0.5, 0),
            )
        ],
    )
    tasks = [task("half", 100.0), task("full", 1.0), task("cached", 0.0)]
    return break_down(library, [], tasks, {"half": 7}, "gain").operators


def test_the_larger_share_names_the_bound(operators):
    found = {one.name: (one.of_peak, one.bound) for one in operators}
    assert found["half"] == (pytest.approx(0.5), "compute")
    assert found["full"] == (pytest.approx(1.0), "memory")
    assert found["cached"] == (pytest.approx(2.0), "cache")


def test_a_kernel_in_c_that_cannot_have_moved_all_of_its_arguments_is_not_judged():
    calls = [call("ends early", 0.5, 20), call("moves all", 4.0, 20)]
    library = Profiled("tuned", "ok", [10.0], [profile(*calls)])
    found = {one.name: one for one in break_down(library, [], [], {}, "gain").operators}
    early, whole = found["ends early"], found["moves all"]
    assert (early.bytes_per_s, early.of_peak, early.bound) == (None, None, "unknown")
    assert (whole.bytes_per_s, whole.of_peak, whole.bound) == (5.0, 0.5, "memory")


def test_calls_of_one_kernel_are_summed(operators):
    half = next(one for one in operators if one.name == "half")
    assert (half.calls, half.seconds, half.flops, half.bytes) == (2, 4.0, 200.0, 2)
    assert (half.trials, half.space) == (7, "generic")


def test_kernels_that_a_run_skips_are_no_calls_and_the_others_are_their_tasks():
    calls = [call("half_switched", 2.0, 1), {**call("half_switched", 0.1, 1), "skipped": True}]
    library = Profiled("tuned", "ok", [10.0], [profile(*calls)])
    [half] = break_down(library, [], [task("half", 100.0)], {}, "gain").operators
    assert (half.name, half.calls, half.seconds, half.flops) == ("half", 1, 2.0, 100.0)


def test_what_would_gain_most_comes_first(operators):
    assert [one.name for one in operators] == ["half", "unknown", "full", "cached"]
    assert [one.gain_s for one in operators] == [pytest.approx(2.0), pytest.approx(0.5), 0.0, 0.0]


def test_other_orders(operators):
    by_time = sorted_operators(operators, "time")
    assert [one.name for one in by_time] == ["half", "full", "cached", "unknown"]
    some = [
        one.model_copy(update={"difference_s": {"full": 1.0, "cached": -1.0}.get(one.name)})
        for one in operators
    ]
    # What has no counterpart comes last, by its time.
    by_difference = sorted_operators(some, "difference")
    assert [one.name for one in by_difference] == ["full", "cached", "half", "unknown"]


def test_each_call_is_the_median_of_its_turns():
    turns = [profile(call("one", seconds, 1)) for seconds in (3.0, 1.0, 100.0)]
    found = break_down(Profiled("tuned", "ok", [1.0], turns), [], [], {}, "gain").operators
    assert [(one.seconds, one.best_s) for one in found] == [(3.0, 1.0)]
