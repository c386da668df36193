"""Candidates are measured on devices of a real RPC tracker, whatever becomes of the devices."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import wild_kernels as wild

from tunekit.catalogue import FailureKind
from tunekit.errors import DeviceError, UsageError
from tunekit.search.remote import RemoteEngine
from tunekit.search.remote_protocol import Linking, Remote
from tunekit.search.remote_tracker import TrackerAddress, parse_tracker, tracker_summary
from tunekit.search.trial import MeasureOptions, Outcome
from tunekit.target import ResolvedTarget

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_PATIENCE_S = 90.0
_REPEAT = 2


class Machines:
    """A tracker and servers of its, on the loopback."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("rpc_machines.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._keys = itertools.count()
        self._read()
        self.address = TrackerAddress("127.0.0.1", self._ask("tracker")["port"])

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)

    def servers(self, count: int, key: str | None = None) -> tuple[str, dict[str, int]]:
        """New servers of a key of their own: the key, and each one's process by its name."""
        key = key or f"key{next(self._keys)}"
        before = {device.name for device in tracker_summary(self.address).of_key(key)}
        found = [self._ask(f"server {self.address.port} {key}") for _ in range(count)]
        _until(
            lambda: len(tracker_summary(self.address).of_key(key)) == len(before) + count,
            "the servers are registered",
        )
        return key, {f"127.0.0.1:{server['port']}": server["pid"] for server in found}

    def _ask(self, command: str) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        answer: dict[str, int] = self._read()
        return answer

    def _read(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the machines did not start"
        answer: dict[str, int] = json.loads(line)
        return answer


def _until(done: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"not within {_PATIENCE_S:g} s: {what}"
        time.sleep(0.05)


def _kill(server: int) -> None:
    """As when the machine loses its power: the server and its sessions."""
    os.killpg(server, signal.SIGKILL)


def _sessions(server: int) -> list[psutil.Process]:
    return psutil.Process(server).children(recursive=True)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    machines = Machines()
    try:
        # The first process that talks to the tracker may come before it listens.
        def answers() -> bool:
            try:
                tracker_summary(machines.address)
            except DeviceError:
                return False
            return True

        _until(answers, "the tracker answers")
        yield machines
    finally:
        machines.close()


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
        cache_flush=False,
        memory_bytes=4 << 30,
    )


@pytest.fixture(scope="module")
def warm_engine(machines: Machines, options: MeasureOptions) -> Iterator[RemoteEngine]:
    """One server process for all tests: what they differ in goes along with each request."""
    with RemoteEngine(options, _remote(machines, "none")) as engine:
        yield engine


@pytest.fixture
def engine(warm_engine: RemoteEngine, options: MeasureOptions) -> RemoteEngine:
    warm_engine.options = options
    return warm_engine


def _remote(
    machines: Machines, key: str, *, wait_s: float = 60.0, compiler: str | None = "g++"
) -> Remote:
    return Remote(str(machines.address), key, wait_s, Linking(compiler))


def _measure(engine: RemoteEngine, *modules: object, rounds: int = 1) -> dict[int, Outcome]:
    candidates = [wild.candidate(key, module) for key, module in enumerate(modules)]
    return {outcome.key: outcome for outcome in engine.measure(candidates, rounds=rounds)}


def _assert_measured(outcome: Outcome, samples: int = _REPEAT) -> None:
    assert (outcome.failure, outcome.text) == (None, "")
    assert outcome.run_seconds is not None
    assert len(outcome.run_seconds) == samples
    assert all(seconds > 0 for seconds in outcome.run_seconds)
    assert outcome.build_s > 0
    assert outcome.run_s > 0


# -- measuring ------------------------------------------------------------------------------------


def test_candidates_are_measured_on_the_devices_of_the_key(
    machines: Machines, engine: RemoteEngine
) -> None:
    key, servers = machines.servers(2)
    machines.servers(1)
    engine.remote = _remote(machines, key)
    outcomes = _measure(engine, *[wild.good() for _ in range(6)])
    assert sorted(outcomes) == list(range(6))
    for outcome in outcomes.values():
        _assert_measured(outcome)
        assert outcome.device in servers


def test_a_device_says_who_it_is(machines: Machines, engine: RemoteEngine) -> None:
    key, servers = machines.servers(1)
    engine.remote = _remote(machines, key)
    found = engine.describe()
    assert found.name in servers
    assert int(found.facts["threads"]) >= 1
    assert str(found.facts["triple"]).partition("-")[0] == os.uname().machine
    _assert_measured(_measure(engine, wild.good())[0])


def test_what_takes_turns_meets_the_same_device(machines: Machines, engine: RemoteEngine) -> None:
    key, servers = machines.servers(2)
    engine.remote = _remote(machines, key)
    outcomes = _measure(engine, wild.good(), wild.for_a_gpu(), wild.good(), rounds=3)
    _assert_measured(outcomes[0], samples=3 * _REPEAT)
    _assert_measured(outcomes[2], samples=3 * _REPEAT)
    assert outcomes[0].device == outcomes[2].device
    assert outcomes[0].device in servers
    assert outcomes[1].failure is FailureKind.BUILD_ERROR


def test_a_candidate_much_slower_than_the_best_is_timed_once(
    machines: Machines, engine: RemoteEngine
) -> None:
    key, _ = machines.servers(1)
    engine.remote = _remote(machines, key)
    (outcome,) = engine.measure([wild.candidate(7, wild.good(), slow_s=1e-12)])
    assert outcome.run_seconds is not None
    assert (outcome.key, len(outcome.run_seconds)) == (7, 1)


def test_without_a_compiler_here_the_device_links(machines: Machines, engine: RemoteEngine) -> None:
    key, _ = machines.servers(1)
    engine.remote = _remote(machines, key, compiler=None)
    _assert_measured(_measure(engine, wild.good())[0])


def test_a_build_that_fails_or_takes_too_long_needs_no_device(
    machines: Machines, engine: RemoteEngine
) -> None:
    engine.remote = _remote(machines, "no-such-key", wait_s=0.1)
    engine.options = dataclasses.replace(engine.options, build_timeout_s=1.5)
    outcomes = _measure(engine, wild.long_to_build(4000), wild.for_a_gpu())
    assert outcomes[0].failure is FailureKind.BUILD_TIMEOUT
    assert outcomes[1].failure is FailureKind.BUILD_ERROR
    assert {outcome.device for outcome in outcomes.values()} == {None}


# -- devices that hang and die --------------------------------------------------------------------


def test_a_candidate_that_hangs_on_two_devices_has_timed_out_and_they_measure_on(
    machines: Machines, engine: RemoteEngine
) -> None:
    key, servers = machines.servers(2)
    engine.remote = _remote(machines, key)
    engine.options = dataclasses.replace(engine.options, run_timeout_s=2)
    outcomes = _measure(engine, wild.good(), wild.calling("pause"), wild.good())
    assert outcomes[1].failure is FailureKind.RUN_TIMEOUT
    for name in servers:
        assert name in outcomes[1].text
    _assert_measured(outcomes[0])
    _assert_measured(outcomes[2])
    again = _measure(engine, wild.good(), wild.good())
    for outcome in again.values():
        _assert_measured(outcome)


def test_a_candidate_that_hangs_on_the_only_device_has_timed_out(
    machines: Machines, engine: RemoteEngine
) -> None:
    key, (name, *_) = machines.servers(1)
    engine.remote = _remote(machines, key)
    engine.options = dataclasses.replace(engine.options, run_timeout_s=1)
    outcome = _measure(engine, wild.calling("pause"))[0]
    assert outcome.failure is FailureKind.RUN_TIMEOUT
    assert outcome.text == (
        f"not measured within 1 s on {name}, and there is no other device to try"
    )


def test_a_candidate_that_kills_two_devices_has_crashed_and_the_third_measures_the_rest(
    machines: Machines, engine: RemoteEngine
) -> None:
    key, servers = machines.servers(3)
    engine.remote = _remote(machines, key)
    outcomes = _measure(engine, wild.good(), wild.writing_far_away(), wild.good(), wild.good())
    assert outcomes[1].failure is FailureKind.CRASH
    assert outcomes[1].text.startswith("it took down ")
    assert sum(name in outcomes[1].text for name in servers) == 2
    for position in (0, 2, 3):
        _assert_measured(outcomes[position])
    left = [device.name for device in tracker_summary(machines.address).of_key(key)]
    assert len(left) == 1
    assert left[0] not in outcomes[1].text


def test_a_device_that_is_killed_loses_no_candidate(
    machines: Machines, engine: RemoteEngine
) -> None:
    key, servers = machines.servers(2)
    engine.remote = _remote(machines, key)
    batch = engine.measure([wild.candidate(number, wild.good()) for number in range(16)])
    first = next(batch)
    assert first.device is not None
    _kill(servers[first.device])
    outcomes = [first, *batch]
    assert sorted(outcome.key for outcome in outcomes) == list(range(16))
    for outcome in outcomes:
        _assert_measured(outcome)
    assert {outcome.device for outcome in outcomes} == set(servers)


def test_a_candidate_whose_last_device_dies_under_it_is_lost(
    machines: Machines, engine: RemoteEngine
) -> None:
    key, servers = machines.servers(1)
    ((name, server),) = servers.items()
    engine.remote = _remote(machines, key, wait_s=1.0)

    def stopped() -> bool:
        return any(session.status() == psutil.STATUS_STOPPED for session in _sessions(server))

    def kill_when_it_runs() -> None:
        _until(stopped, "the candidate stops its process")
        _kill(server)

    killer = threading.Thread(target=kill_when_it_runs)
    killer.start()
    try:
        outcome = _measure(engine, wild.calling("raise", signal.SIGSTOP))[0]
    finally:
        killer.join()
    assert outcome.failure is FailureKind.LOST_DEVICE
    assert outcome.text == f"{name} died, and no other device came within 1 s"
    with pytest.raises(DeviceError) as caught:
        _measure(engine, wild.good())
    assert f"had no device of key '{key}' for 1 s" in caught.value.message
    assert caught.value.hint == (
        f"on the device, run: python -m tvm.exec.rpc_server --tracker {machines.address} "
        f"--key {key}"
    )
    # And once there is one again, it goes on.
    machines.servers(1, key)
    _assert_measured(_measure(engine, wild.good())[0])


def test_a_device_that_cannot_run_the_targets_code_is_refused_with_its_reason(
    machines: Machines, engine: RemoteEngine
) -> None:
    other = "x86_64" if os.uname().machine == "aarch64" else "aarch64"
    key, (name, *_) = machines.servers(1)
    engine.remote = _remote(machines, key, compiler=None)
    target = {"kind": "llvm", "mtriple": f"{other}-linux-gnu", "num-cores": 1}
    engine.options = dataclasses.replace(engine.options, target=json.dumps(target))
    with pytest.raises(DeviceError) as caught:
        _measure(engine, wild.good())
    assert f"no device of key '{key}' can run what is built for it: {name}: " in str(caught.value)
    assert "--target" in (caught.value.hint or "")


def test_without_a_compiler_for_the_target_nothing_begins(
    machines: Machines, engine: RemoteEngine
) -> None:
    engine.remote = _remote(machines, "any", compiler="no-such-compiler")
    with pytest.raises(DeviceError) as caught:
        _measure(engine, wild.good())
    assert "nothing can be built for target" in caught.value.message
    assert "no-such-compiler" in caught.value.message
    assert "--cc" in (caught.value.hint or "")


def test_a_tracker_that_does_not_answer_is_an_error(engine: RemoteEngine) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        engine.remote = Remote(address, "any", 0.1, Linking("g++"))
        with pytest.raises(DeviceError) as caught:
            engine.describe()
    assert f"no RPC tracker answers at {address}" in caught.value.message
    assert "tvm.exec.rpc_tracker" in (caught.value.hint or "")


# -- the server that survives ---------------------------------------------------------------------


def test_the_projects_own_server_survives_the_candidates_that_crash(
    machines: Machines, engine: RemoteEngine, tmp_path: Path
) -> None:
    key = "sturdy"
    engine.remote = _remote(machines, key)
    log = tmp_path / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tunekit.search.remote_server", "--host", "127.0.0.1"),
                *("--tracker", str(machines.address), "--key", key, "--threads", "2"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as server,
    ):
        try:
            facts = engine.describe().facts
            outcomes = _measure(engine, wild.writing_far_away(), wild.good())
        finally:
            server.terminate()
    assert facts["threads"] == min(2, os.cpu_count() or 1)
    assert outcomes[0].failure is FailureKind.CRASH
    _assert_measured(outcomes[1])
    assert "going on" in log.read_text()


# -- the tracker ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.7:9191", TrackerAddress("10.0.0.7", 9191)),
        ("farm", TrackerAddress("farm", 9190)),
        ("[::1]:9000", TrackerAddress("::1", 9000)),
        ("[::1]", TrackerAddress("::1", 9190)),
    ],
)
def test_the_address_of_a_tracker(text: str, address: TrackerAddress) -> None:
    assert parse_tracker(text) == address
    assert parse_tracker(str(address)) == address


@pytest.mark.parametrize("text", ["", ":9190", "farm:", "farm:x", "farm:0", "farm:65536"])
def test_what_is_no_address_of_a_tracker(text: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a tracker"):
        parse_tracker(text)


def test_devices_lists_what_the_tracker_has(machines: Machines, run_tunekit: Run) -> None:
    key, servers = machines.servers(2)
    names = ", ".join(sorted(servers, key=lambda name: int(name.rpartition(":")[2])))
    done = run_tunekit("devices", "--rpc-tracker", str(machines.address), "--rpc-key", key)
    assert (done.returncode, done.stderr) == (0, "")
    heading, row = done.stdout.splitlines()
    assert heading.split() == ["key", "devices", "free", "waiting", "addresses"]
    assert row.split(maxsplit=4) == [key, "2", "2", "0", names]
    done = run_tunekit(
        "devices",
        *("-f", "json"),
        env={"TVM_TRACKER_HOST": "127.0.0.1", "TVM_TRACKER_PORT": str(machines.address.port)},
    )
    listed = json.loads(done.stdout)
    assert listed["tracker"] == str(machines.address)
    (found,) = [entry for entry in listed["keys"] if entry["key"] == key]
    assert found == {"key": key, "devices": names.split(", "), "free": 2, "pending": 0}


def test_devices_of_a_key_that_there_are_none_of(machines: Machines, run_tunekit: Run) -> None:
    key, _ = machines.servers(1)
    done = run_tunekit("devices", "--rpc-tracker", str(machines.address), "--rpc-key", "rasp4")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: the tracker at {machines.address} has no device of key 'rasp4'" in done.stderr
    assert key in done.stderr
    assert "  hint: on the device, run: python -m tvm.exec.rpc_server" in done.stderr


def test_devices_without_a_tracker(run_tunekit: Run) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        done = run_tunekit("devices", "--rpc-tracker", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: no RPC tracker answers at {address}: " in done.stderr
    assert "  hint: start one with: python -m tvm.exec.rpc_tracker" in done.stderr


def test_devices_asked_of_something_that_is_no_tracker(
    machines: Machines, run_tunekit: Run
) -> None:
    _, (server, *_) = machines.servers(1)
    done = run_tunekit("devices", "--rpc-tracker", server)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"what answers at {server} does not behave like an RPC tracker" in done.stderr


# -- what is left ---------------------------------------------------------------------------------


def test_a_measuring_process_that_is_killed_loses_its_batch_and_nothing_else(
    machines: Machines, engine: RemoteEngine
) -> None:
    key, _ = machines.servers(1)
    engine.remote = _remote(machines, key)
    batch = engine.measure([wild.candidate(number, wild.good()) for number in range(8)])
    outcomes = [next(batch)]
    worker = _worker()
    children = worker.children()
    worker.kill()
    outcomes += batch
    assert sorted(outcome.key for outcome in outcomes) == list(range(8))
    assert {outcome.failure for outcome in outcomes} <= {None, FailureKind.LOST_DEVICE}
    assert outcomes[-1].failure is FailureKind.LOST_DEVICE
    _, alive = psutil.wait_procs(children, timeout=_PATIENCE_S)
    assert not alive


def test_closing_ends_all_that_was_started_and_leaves_the_device_alive(
    machines: Machines, engine: RemoteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before the server process of this test starts: the one before it was killed.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    key, servers = machines.servers(1)
    (server,) = servers.values()
    engine.remote = _remote(machines, key)
    batch = engine.measure([wild.candidate(number, wild.good()) for number in range(8)])
    next(batch)
    worker = _worker()
    family = [worker, *worker.children(recursive=True)]
    assert list(tmp_path.iterdir()) != []
    engine.close()
    _, alive = psutil.wait_procs(family, timeout=_PATIENCE_S)
    assert not alive
    assert list(tmp_path.iterdir()) == []
    _until(lambda: not _sessions(server), "the session on the device has ended")
    assert len(tracker_summary(machines.address).of_key(key)) == 1


def _worker() -> psutil.Process:
    (worker,) = [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
        and "tunekit.search.remote_worker" in child.cmdline()
    ]
    return worker
