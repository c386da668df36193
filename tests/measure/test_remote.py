"""Candidates are measured on devices of a real RPC tracker, whatever becomes of the devices."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import wild_kernels as wild
from rpc_farm import PATIENCE_S, Machines, kill, sessions, until

from tunekit.catalogue import FailureKind
from tunekit.errors import DeviceError
from tunekit.machine.target import ResolvedTarget
from tunekit.measure.measurer import MeasureOptions, MeasureResult
from tunekit.measure.remote.measurer import RpcMeasurer
from tunekit.measure.remote.protocol import Linking, Remote
from tunekit.rpc.tracker import (
    tracker_summary,
)

_REPEAT = 2


@pytest.fixture(scope="module")
def options(native: ResolvedTarget) -> MeasureOptions:
    return MeasureOptions(
        target=native.spec,
        device="cpu",
        repeat=_REPEAT,
        min_repeat_ms=1,
        build_timeout_s=60,
        run_timeout_s=20,
        jobs=2,
        threads=1,
        cpu_cache="warm",
        memory_bytes=4 << 30,
    )


@pytest.fixture(scope="module")
def warm(machines: Machines, options: MeasureOptions) -> Iterator[RpcMeasurer]:
    """One server process for all tests: what they differ in goes along with each request."""
    with RpcMeasurer(options, _remote(machines, "none")) as measurer:
        yield measurer


@pytest.fixture
def measurer(warm: RpcMeasurer, options: MeasureOptions) -> RpcMeasurer:
    warm.options = options
    return warm


def _remote(
    machines: Machines, key: str, *, wait_s: float = 60.0, compiler: str | None = "g++"
) -> Remote:
    return Remote(str(machines.address), key, wait_s, Linking(compiler))


def _measure(measurer: RpcMeasurer, *modules: object, rounds: int = 1) -> dict[int, MeasureResult]:
    candidates = [wild.candidate(key, module) for key, module in enumerate(modules)]
    return {result.key: result for result in measurer.measure(candidates, rounds=rounds)}


def _assert_measured(result: MeasureResult, samples: int = _REPEAT) -> None:
    assert (result.failure, result.text) == (None, "")
    assert result.samples_s is not None
    # More, if the host was slow meanwhile.
    assert len(result.samples_s) >= samples
    assert all(seconds > 0 for seconds in result.samples_s)
    assert result.build_s > 0
    assert result.measure_s > 0


# -- measuring ------------------------------------------------------------------------------------


def test_candidates_are_measured_on_the_devices_of_the_key(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    key, servers = machines.servers(2)
    machines.servers(1)
    measurer.remote = _remote(machines, key)
    results = _measure(measurer, *[wild.good() for _ in range(6)])
    assert sorted(results) == list(range(6))
    for result in results.values():
        _assert_measured(result)
        assert result.device in servers


def test_a_device_says_who_it_is(machines: Machines, measurer: RpcMeasurer) -> None:
    key, servers = machines.servers(1)
    measurer.remote = _remote(machines, key)
    found = measurer.describe()
    assert found.name in servers
    assert int(found.facts["threads"]) >= 1
    assert str(found.facts["triple"]).partition("-")[0] == os.uname().machine
    _assert_measured(_measure(measurer, wild.good())[0])


def test_what_takes_turns_meets_the_same_device(machines: Machines, measurer: RpcMeasurer) -> None:
    key, servers = machines.servers(2)
    measurer.remote = _remote(machines, key)
    results = _measure(measurer, wild.good(), wild.for_a_gpu(), wild.good(), rounds=3)
    _assert_measured(results[0], samples=3 * _REPEAT)
    _assert_measured(results[2], samples=3 * _REPEAT)
    assert results[0].device == results[2].device
    assert results[0].device in servers
    assert results[1].failure is FailureKind.BUILD_ERROR


def test_a_candidate_much_slower_than_the_best_is_timed_a_few_times_only(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    key, _ = machines.servers(1)
    measurer.remote = _remote(machines, key)
    (result,) = measurer.measure([wild.candidate(7, wild.good(), slow_s=1e-12)])
    assert result.samples_s is not None
    assert (result.key, len(result.samples_s)) == (7, 5)
    assert result.calibration_s is None


def test_the_noise_guard_goes_along(machines: Machines, measurer: RpcMeasurer) -> None:
    key, _ = machines.servers(1)
    measurer.remote = _remote(machines, key)
    result = _measure(measurer, wild.good())[0]
    assert result.samples_s is not None
    assert result.calibration_s is not None
    assert result.calibration_s > 0
    assert result.slowdown is not None
    assert result.slowdown > 0
    measurer.options = dataclasses.replace(measurer.options, noise_guard=False)
    result = _measure(measurer, wild.good())[0]
    assert (result.calibration_s, result.slowdown) == (None, None)


def test_without_a_compiler_here_the_device_links(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    key, _ = machines.servers(1)
    measurer.remote = _remote(machines, key, compiler=None)
    _assert_measured(_measure(measurer, wild.good())[0])


def test_a_build_that_fails_or_takes_too_long_needs_no_device(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    measurer.remote = _remote(machines, "no-such-key", wait_s=0.1)
    measurer.options = dataclasses.replace(measurer.options, build_timeout_s=1.5)
    results = _measure(measurer, wild.long_to_build(4000), wild.for_a_gpu())
    assert results[0].failure is FailureKind.BUILD_TIMEOUT
    assert results[1].failure is FailureKind.BUILD_ERROR
    assert {result.device for result in results.values()} == {None}


# -- devices that hang and die --------------------------------------------------------------------


def test_a_candidate_that_hangs_on_two_devices_has_timed_out_and_they_measure_on(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    key, servers = machines.servers(2)
    measurer.remote = _remote(machines, key)
    measurer.options = dataclasses.replace(measurer.options, run_timeout_s=2)
    results = _measure(measurer, wild.good(), wild.calling("pause"), wild.good())
    assert results[1].failure is FailureKind.RUN_TIMEOUT
    for name in servers:
        assert name in results[1].text
    _assert_measured(results[0])
    _assert_measured(results[2])
    again = _measure(measurer, wild.good(), wild.good())
    for result in again.values():
        _assert_measured(result)


def test_a_candidate_that_hangs_on_the_only_device_has_timed_out(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    key, (name, *_) = machines.servers(1)
    measurer.remote = _remote(machines, key)
    measurer.options = dataclasses.replace(measurer.options, run_timeout_s=1)
    result = _measure(measurer, wild.calling("pause"))[0]
    assert result.failure is FailureKind.RUN_TIMEOUT
    assert result.text == (
        f"not measured within 1 s on {name}, and there is no other device to try"
    )


def test_a_candidate_that_kills_two_devices_has_crashed_and_the_third_measures_the_rest(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    key, servers = machines.servers(3)
    measurer.remote = _remote(machines, key)
    results = _measure(measurer, wild.good(), wild.writing_far_away(), wild.good(), wild.good())
    assert results[1].failure is FailureKind.CRASH
    assert results[1].text.startswith("it took down ")
    assert sum(name in results[1].text for name in servers) == 2
    for position in (0, 2, 3):
        _assert_measured(results[position])
    left = [device.name for device in tracker_summary(machines.address).of_key(key)]
    assert len(left) == 1
    assert left[0] not in results[1].text


def test_a_device_that_is_killed_loses_no_candidate(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    key, servers = machines.servers(2)
    measurer.remote = _remote(machines, key)
    batch = measurer.measure([wild.candidate(number, wild.good()) for number in range(16)])
    first = next(batch)
    assert first.device is not None
    kill(servers[first.device])
    results = [first, *batch]
    assert sorted(result.key for result in results) == list(range(16))
    for result in results:
        _assert_measured(result)
    assert {result.device for result in results} == set(servers)


def test_a_candidate_whose_last_device_dies_under_it_is_lost(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    key, servers = machines.servers(1)
    ((name, server),) = servers.items()
    measurer.remote = _remote(machines, key, wait_s=1.0)

    def stopped() -> bool:
        return any(session.status() == psutil.STATUS_STOPPED for session in sessions(server))

    def kill_when_it_runs() -> None:
        until(stopped, "the candidate stops its process")
        kill(server)

    killer = threading.Thread(target=kill_when_it_runs)
    killer.start()
    try:
        result = _measure(measurer, wild.calling("raise", signal.SIGSTOP))[0]
    finally:
        killer.join()
    assert result.failure is FailureKind.LOST_DEVICE
    assert result.text == f"{name} died, and no other device came within 1 s"
    with pytest.raises(DeviceError) as caught:
        _measure(measurer, wild.good())
    assert f"had no device of key '{key}' for 1 s" in caught.value.message
    assert caught.value.hint == (
        f"on the device, run: python -m tunekit.rpc.device_server --tracker {machines.address} "
        f"--key {key}"
    )
    # And once there is one again, it goes on.
    machines.servers(1, key)
    _assert_measured(_measure(measurer, wild.good())[0])


def test_a_device_that_cannot_run_the_targets_code_is_refused_with_its_reason(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    other = "x86_64" if os.uname().machine == "aarch64" else "aarch64"
    key, (name, *_) = machines.servers(1)
    measurer.remote = _remote(machines, key, compiler=None)
    target = {"kind": "llvm", "mtriple": f"{other}-linux-gnu", "num-cores": 1}
    measurer.options = dataclasses.replace(measurer.options, target=json.dumps(target))
    with pytest.raises(DeviceError) as caught:
        _measure(measurer, wild.good())
    assert f"no device of key '{key}' can run what is built for it: {name}: " in str(caught.value)
    assert "--target" in (caught.value.hint or "")


def test_a_device_with_fewer_threads_than_are_measured_with_is_refused(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    key, (name, *_) = machines.servers(1)
    measurer.remote = _remote(machines, key)
    measurer.options = dataclasses.replace(measurer.options, threads=4096)
    with pytest.raises(DeviceError) as caught:
        _measure(measurer, wild.good())
    assert f"{name}: its server has " in caught.value.message
    assert "start it with TVM_NUM_THREADS=4096, or measure with --threads " in str(caught.value)


def test_without_a_compiler_for_the_target_nothing_begins(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    measurer.remote = _remote(machines, "any", compiler="no-such-compiler")
    with pytest.raises(DeviceError) as caught:
        _measure(measurer, wild.good())
    assert "nothing can be built for target" in caught.value.message
    assert "no-such-compiler" in caught.value.message
    assert "--cc" in (caught.value.hint or "")


def test_a_tracker_that_does_not_answer_is_an_error(measurer: RpcMeasurer) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        measurer.remote = Remote(address, "any", 0.1, Linking("g++"))
        with pytest.raises(DeviceError) as caught:
            measurer.describe()
    assert f"no RPC tracker answers at {address}" in caught.value.message
    assert "tvm.exec.rpc_tracker" in (caught.value.hint or "")


# -- the server that survives ---------------------------------------------------------------------


def test_the_projects_own_server_survives_the_candidates_that_crash(
    machines: Machines, measurer: RpcMeasurer, tmp_path: Path
) -> None:
    key = "sturdy"
    measurer.remote = _remote(machines, key)
    log = tmp_path / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tunekit.rpc.device_server", "--host", "127.0.0.1"),
                *("--tracker", str(machines.address), "--key", key, "--threads", "2"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as server,
    ):
        try:
            facts = measurer.describe().facts
            results = _measure(measurer, wild.writing_far_away(), wild.good())
        finally:
            server.terminate()
    assert facts["threads"] == min(2, os.cpu_count() or 1)
    assert results[0].failure is FailureKind.CRASH
    _assert_measured(results[1])
    assert "going on" in log.read_text()


# -- what is left ---------------------------------------------------------------------------------


def test_a_measuring_process_that_is_killed_loses_its_batch_and_nothing_else(
    machines: Machines, measurer: RpcMeasurer
) -> None:
    key, _ = machines.servers(1)
    measurer.remote = _remote(machines, key)
    batch = measurer.measure([wild.candidate(number, wild.good()) for number in range(8)])
    results = [next(batch)]
    process = _server()
    until(process.children, "a child works")
    children = process.children()
    process.kill()
    results += batch
    assert sorted(result.key for result in results) == list(range(8))
    assert {result.failure for result in results} <= {None, FailureKind.LOST_DEVICE}
    assert results[-1].failure is FailureKind.LOST_DEVICE
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not alive


def test_closing_ends_all_that_was_started_and_leaves_the_device_alive(
    machines: Machines, measurer: RpcMeasurer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server process of this test starts with this, not before.
    measurer.close()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    key, servers = machines.servers(1)
    (server,) = servers.values()
    measurer.remote = _remote(machines, key)
    batch = measurer.measure([wild.candidate(number, wild.good()) for number in range(8)])
    next(batch)
    process = _server()
    family = [process, *process.children(recursive=True)]
    assert list(tmp_path.iterdir()) != []
    measurer.close()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
    assert not alive
    assert list(tmp_path.iterdir()) == []
    until(lambda: not sessions(server), "the session on the device has ended")
    assert len(tracker_summary(machines.address).of_key(key)) == 1


def _server() -> psutil.Process:
    (server,) = [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
        and "tunekit.measure.remote.server" in child.cmdline()
    ]
    return server
