"""Several processes of one runtime at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tunekit.timing.rounds import Entry, RoundSettings
from tunekit.timing.together import Instances, Together, run_together

if TYPE_CHECKING:
    from tests.timing.conftest import Array

BRIEF = RoundSettings(rounds=1, threads=2, warm_up_s=0.01)


def run(
    tmp_path: Path, inputs: dict[str, Array], class_path: str, instances: Instances, **plan: int
) -> Together:
    entry = Entry("toy", class_path, plan)
    return run_together(entry, inputs, BRIEF, instances, folder=tmp_path, say=lambda _: None)


def test_all_of_them_run_and_their_rates_are_added(
    tmp_path: Path, inputs: dict[str, Array]
) -> None:
    both = run(tmp_path, inputs, "toy_runtimes:Slow", Instances(2, turn_s=0.3))
    assert both.reason is None
    assert both.threads == 1
    assert len(both.runs_per_s) == 3
    # Each sleeps for a twentieth of a second, which two can do at the same time.
    assert all(25 < rate <= 40 for rate in both.runs_per_s)
    assert [len(seconds) >= 3 for seconds in both.seconds] == [True, True]


@pytest.mark.parametrize("shared", [False, True])
def test_each_has_its_part_of_the_cores_or_all_of_them(
    tmp_path: Path, inputs: dict[str, Array], shared: bool
) -> None:
    from tunekit.processes.child import core_ids

    cores = len(core_ids()) if shared else max(1, len(core_ids()) // 2)
    instances = Instances(2, shared=shared, turn_s=0.01)
    done = run(tmp_path, inputs, "toy_converters:OneCore", instances, cores=cores)
    assert done.reason is None
    assert done.threads == (2 if shared else 1)


def test_one_that_fails_is_told_and_nothing_is_added(
    tmp_path: Path, inputs: dict[str, Array]
) -> None:
    failed = run(tmp_path, inputs, "toy_runtimes:SegfaultsAtOnce", Instances(2))
    assert failed.reason == "SIGSEGV (segmentation fault)"
    assert (failed.runs_per_s, failed.seconds) == ([], [])


def test_cores_are_dealt_out_and_taken_twice_where_there_are_too_few() -> None:
    four = [0, 2, 4, 6]
    assert [Instances(2).cores(number, four) for number in range(2)] == [[0, 2], [4, 6]]
    assert [Instances(3).cores(number, four) for number in range(3)] == [[0], [2], [4]]
    assert [Instances(6).cores(number, four) for number in (0, 3, 4, 5)] == [[0], [6], [0], [2]]
    assert Instances(2, shared=True).cores(1, four) == four
    assert (Instances(2).threads(5), Instances(8).threads(2)) == (2, 1)
