"""A runner process never outlives who started it, whatever either of them is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from tunekit.processes.child import tvm_may_pin
from tunekit.runtimes.process import RunnerFailed, RunnerProcess
from tunekit.runtimes.worker import whole_text

if TYPE_CHECKING:
    from tests.conftest import StillRunning

SUPPORT = Path(__file__).parents[1] / "support"
PARENT = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import numpy as np
    sys.path.insert(0, {support!r})
    from tunekit.runtimes.process import RunnerProcess
    folder = Path({folder!r})
    np.savez(folder / "in.npz", np.ones(2))
    runner = RunnerProcess("toy_runtimes:{name}", threads=1, log=folder / "log")
    runner.ask("load", timeout_s=60, plan={{}}, inputs=str(folder / "in.npz"), names=["x"],
                   threads=1)
    print(runner.pid, flush=True)
    if {busy}:
        runner.ask("run", timeout_s=600, seconds=600, least=1, most=10**9, untimed=0)
    sys.stdin.read()
    """
)


@pytest.mark.parametrize(("name", "busy"), [("Doubles", False), ("Doubles", True), ("Hangs", True)])
def test_a_killed_parent_takes_its_runners_along(
    tmp_path: Path, still_running: StillRunning, name: str, busy: bool
) -> None:
    script = PARENT.format(support=str(SUPPORT), folder=str(tmp_path), name=name, busy=busy)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.3)  # most likely in the middle of a run by then; it must not matter
        assert child.ppid() == parent.pid
        os.kill(parent.pid, signal.SIGKILL)
    assert still_running([child]) == []


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """What `load` is told of the inputs: one, of two numbers."""
    np.savez(tmp_path / "in.npz", np.ones(2))
    return {"inputs": str(tmp_path / "in.npz"), "names": ["x"]}


def test_a_file_of_the_working_directory_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('not the one')\n")
    monkeypatch.chdir(tmp_path)
    with RunnerProcess("toy_runtimes:Doubles", threads=1, log=tmp_path / "log") as runner:
        runner.ask("load", timeout_s=60, plan={}, threads=1, **given)


def test_what_a_runner_keeps_goes_also_when_somebody_presses_ctrl_c(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    log = tmp_path / "log"
    kept = tmp_path / "kept"

    def interrupted() -> None:
        with RunnerProcess("toy_runtimes:KeepsAFile", threads=1, log=log) as runner:
            runner.ask("load", timeout_s=60, plan={"file": str(kept)}, threads=1, **given)
            assert kept.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not kept.exists()


def test_tvm_pins_no_thread_of_a_runner_that_has_a_part_of_the_cores(tmp_path: Path) -> None:
    for apart, said in ((False, str(int(tvm_may_pin()))), (True, "0")):
        with RunnerProcess(
            "toy_runtimes:Doubles", threads=1, log=tmp_path / "log", apart=apart
        ) as runner:
            assert psutil.Process(runner.pid).environ()["TVM_BIND_THREADS"] == said


def test_what_lies_beside_a_notebook_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    (tmp_path / "beside_a_notebook.py").write_text("from toy_runtimes import Doubles as Mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with RunnerProcess("beside_a_notebook:Mine", threads=1, log=tmp_path / "log") as runner:
        runner.ask("load", timeout_s=60, plan={}, threads=1, **given)


def test_what_a_runner_started_ends_with_it(
    tmp_path: Path, given: dict[str, Any], still_running: StillRunning
) -> None:
    log = tmp_path / "log"
    with RunnerProcess("toy_converters:StartsAProgram", threads=1, log=log) as runner:
        reply = runner.ask("load", timeout_s=60, plan={}, threads=1, **given)
        program = psutil.Process(reply["settings"]["program"])
        assert program.is_running()
    assert still_running([program]) == []


def test_ctrl_c_in_the_terminal_does_not_reach_a_runner(tmp_path: Path) -> None:
    with RunnerProcess("toy_runtimes:Doubles", threads=1, log=tmp_path / "log") as runner:
        assert os.getpgid(runner.pid) != os.getpgid(0)


def test_every_thread_pool_is_given_its_size_before_a_library_loads(tmp_path: Path) -> None:
    with RunnerProcess("toy_runtimes:Doubles", threads=3, log=tmp_path / "log") as runner:
        environment = psutil.Process(runner.pid).environ()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TVM_NUM_THREADS"):
        assert environment[name] == "3"


def test_a_command_out_of_place_is_an_answer_and_not_the_end(tmp_path: Path) -> None:
    with RunnerProcess("toy_runtimes:Doubles", threads=1, log=tmp_path / "log") as runner:
        for _ in range(2):
            with pytest.raises(RunnerFailed, match="'outputs' before 'load'"):
                runner.ask("outputs", timeout_s=60, to="nowhere")


def test_a_runner_process_can_be_closed_twice_and_is_gone_after_the_first(tmp_path: Path) -> None:
    runner = RunnerProcess("toy_runtimes:Doubles", threads=1, log=tmp_path / "log")
    runner.close()
    assert not psutil.pid_exists(runner.pid)
    runner.close()
    assert runner.cpu_s() == 0.0


def test_an_exception_keeps_its_traceback_for_the_report() -> None:
    with pytest.raises(ValueError) as raised:
        raise ValueError("no such layout\nmore about it")
    assert "more about it" in whole_text(raised.value)
    assert "Traceback" in whole_text(raised.value)


def test_an_exception_that_prints_a_whole_tensor_does_not_fill_the_report() -> None:
    error = RuntimeError("cannot trace " + "0.1234, " * 100_000 + "the end")
    assert len(whole_text(error)) < 10_000
    assert whole_text(error).rstrip().endswith("the end")
