"""Several processes of one runtime at once."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tunekit.timing.rounds import Entry, RoundSettings
from tunekit.timing.together import Instances, Together, run_together

if TYPE_CHECKING:
    from tests.conftest import StillRunning
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
    # Each sleeps for a twentieth of a second: one alone makes no more than twenty in a second, and
    # two no more than forty.
    assert all(0 < rate <= 40 for rate in both.runs_per_s)
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


def test_more_processes_than_the_system_allows_are_told(
    tmp_path: Path, inputs: dict[str, Array]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    # The limit is for the numbers: those that are free below count as well.
    free = (number for number in itertools.count() if number not in taken)
    limit = next(itertools.islice(free, 12, None))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        failed = run(tmp_path, inputs, "toy_runtimes:Doubles", Instances(16))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert failed.reason == "OSError: [Errno 24] Too many open files"


INTERRUPTED = """
import sys
from pathlib import Path
import numpy as np
from tunekit.timing.rounds import Entry, RoundSettings
from tunekit.timing.together import Instances, run_together
entry, settings = Entry("toy", "toy_runtimes:Hangs", {}), RoundSettings(1, 2, warm_up_s=0.01)
say = lambda line: print(line, flush=True)
folder = Path(sys.argv[1])
run_together(entry, {"x": np.ones(3)}, settings, Instances(2), folder=folder, say=say)
"""


def test_ctrl_c_ends_them_without_waiting_for_their_turn(
    tmp_path: Path, still_running: StillRunning
) -> None:
    paths = os.pathsep.join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        parent = psutil.Process(process.pid)
        while len(parent.children()) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        time.sleep(2)  # most likely in the middle of a turn by then; it must not matter
        children = parent.children()
        process.send_signal(signal.SIGINT)
        # A turn may last for 300 s.
        _, errors = process.communicate(timeout=100)
    assert errors.splitlines()[-1] == b"KeyboardInterrupt"
    assert still_running(children) == []


def test_cores_are_dealt_out_and_taken_twice_where_there_are_too_few() -> None:
    four = [0, 2, 4, 6]
    assert [Instances(2).cores(number, four) for number in range(2)] == [[0, 2], [4, 6]]
    assert [Instances(3).cores(number, four) for number in range(3)] == [[0], [2], [4]]
    assert [Instances(6).cores(number, four) for number in (0, 3, 4, 5)] == [[0], [6], [0], [2]]
    assert Instances(2, shared=True).cores(1, four) == four
    assert (Instances(2).threads(5), Instances(8).threads(2)) == (2, 1)
