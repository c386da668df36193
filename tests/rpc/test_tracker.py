"""What an RPC tracker has, as the library and `tunekit devices` say it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
from rpc_farm import Machines

from tunekit.errors import UsageError
from tunekit.rpc.tracker import (
    TrackerAddress,
    parse_tracker,
)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


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


def test_devices_lists_what_the_tracker_has(machines: Machines, run_warm: Run) -> None:
    key, servers = machines.servers(2)
    names = ", ".join(sorted(servers, key=lambda name: int(name.rpartition(":")[2])))
    done = run_warm("devices", "--rpc-tracker", str(machines.address), "--rpc-key", key)
    assert (done.returncode, done.stderr) == (0, "")
    heading, row = done.stdout.splitlines()
    assert heading.split() == ["key", "devices", "free", "waiting", "addresses"]
    assert row.split(maxsplit=4) == [key, "2", "2", "0", names]
    done = run_warm(
        "devices",
        *("-f", "json"),
        env={"TVM_TRACKER_HOST": "127.0.0.1", "TVM_TRACKER_PORT": str(machines.address.port)},
    )
    listed = json.loads(done.stdout)
    assert listed["tracker"] == str(machines.address)
    (found,) = [entry for entry in listed["keys"] if entry["key"] == key]
    assert found == {"key": key, "devices": names.split(", "), "free": 2, "pending": 0}


def test_devices_of_a_key_that_there_are_none_of(machines: Machines, run_warm: Run) -> None:
    key, _ = machines.servers(1)
    done = run_warm("devices", "--rpc-tracker", str(machines.address), "--rpc-key", "rasp4")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: the tracker at {machines.address} has no device of key 'rasp4'" in done.stderr
    assert key in done.stderr
    assert "  hint: on the device, run: python -m tunekit.rpc.device_server" in done.stderr


def test_devices_without_a_tracker(run_warm: Run) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        done = run_warm("devices", "--rpc-tracker", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: no RPC tracker answers at {address}: " in done.stderr
    assert "  hint: start one with: python -m tvm.exec.rpc_tracker" in done.stderr


def test_devices_asked_of_something_that_is_no_tracker(machines: Machines, run_warm: Run) -> None:
    _, (server, *_) = machines.servers(1)
    done = run_warm("devices", "--rpc-tracker", server)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"what answers at {server} does not behave like an RPC tracker" in done.stderr


def _serve(tracker: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tunekit.rpc.device_server", "--tracker", tracker]
    return subprocess.Popen(
        [*command, "--key", "k"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_a_device_finds_a_tracker_by_its_ipv6_address_as_it_is_printed() -> None:
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with listening:
        listening.settimeout(120)
        device = _serve(f"[::1]:{listening.getsockname()[1]}")
        try:
            connection, _ = listening.accept()
            with connection:
                assert len(connection.recv(4)) == 4  # What trackers are greeted with.
        finally:
            device.kill()
            device.communicate()


def test_a_tracker_on_a_machine_that_is_not_known_is_told() -> None:
    device = _serve("no.such.machine.invalid:9190")
    _, told = device.communicate(timeout=120)
    assert device.returncode == 2
    assert "no.such.machine.invalid is no machine that is known here" in told
