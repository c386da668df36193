"""TVM's RPC tracker, spoken to without TVM: who is registered, and which device is free.

The protocol is a magic number and then JSON texts, each with its length in front. TVM's own client
needs `import tvm` (seconds) and has no limit on any of its waits; a list of devices has to answer
at once, and a tuner must not hang because a tracker does.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from tunekit.errors import DeviceError, UsageError

DEFAULT_PORT = 9190
"""Where `python -m tvm.exec.rpc_tracker` listens unless told otherwise."""

_MAGIC = 0x2F271
_SUCCESS = 0
_REQUEST = 4
_SUMMARY = 6
_LARGEST_MESSAGE = 1 << 24
_TIMEOUT_S = 5.0
_PRIORITY = 1


@dataclass(frozen=True)
class TrackerAddress:
    """Where a tracker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        # An IPv6 address has colons of its own.
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Device:
    """A server that is registered with a tracker; `key` says what kind of device it is."""

    key: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """Its address, which is the only name a server has."""
        return str(TrackerAddress(self.host, self.port))


@dataclass(frozen=True)
class KeyQueue:
    """A key's queue: devices that wait for work, and requests that wait for a device."""

    free: int
    pending: int


@dataclass(frozen=True)
class TrackerSummary:
    """What a tracker has: its devices by key and address, and the queue of each key."""

    devices: tuple[Device, ...]
    queues: dict[str, KeyQueue]

    def of_key(self, key: str) -> tuple[Device, ...]:
        """The devices of one key."""
        return tuple(device for device in self.devices if device.key == key)


@dataclass(frozen=True)
class Grant:
    """A device that the tracker gave away, for whoever connects with this match key."""

    device: Device
    match_key: str


def parse_tracker(text: str) -> TrackerAddress:
    """The address in "host:port", "host" (port 9190) or "[::1]:9190".

    Raises:
        UsageError: it is none of these.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text.strip(), str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(
            f"{text!r} is not the address of a tracker",
            hint=f"write it as host:port, for example 192.168.1.20:{DEFAULT_PORT}",
        )
    return TrackerAddress(host, int(port))


def tracker_in_environment() -> str | None:
    """ "host:port" from TVM_TRACKER_HOST and TVM_TRACKER_PORT, None where there is no host."""
    host = os.environ.get("TVM_TRACKER_HOST")
    if not host:
        return None
    return f"{host}:{os.environ.get('TVM_TRACKER_PORT') or DEFAULT_PORT}"


def server_command(address: TrackerAddress | str, key: str) -> str:
    """The command that registers the machine it is typed on as a device."""
    return f"python -m tunekit.rpc.device_server --tracker {address} --key {key}"


def tracker_summary(address: TrackerAddress) -> TrackerSummary:
    """What the tracker has now.

    Raises:
        DeviceError: nobody answers there, or somebody who is no tracker.
    """
    with _connect(address) as connection:
        try:
            _send(connection, [_SUMMARY])
            status, summary = _receive(connection)
            if status != _SUCCESS:
                raise ValueError(f"status {status}")
            devices = [
                # "server:rasp4" is how a server calls itself.
                Device(entry["key"].partition(":")[2], str(entry["addr"][0]), int(entry["addr"][1]))
                for entry in summary["server_info"]
            ]
            queues = {
                str(key): KeyQueue(int(queue["free"]), int(queue["pending"]))
                for key, queue in summary["queue_info"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise _not_a_tracker(address, error) from error
    return TrackerSummary(
        tuple(sorted(devices, key=lambda device: (device.key, device.host, device.port))), queues
    )


class DeviceRequest:
    """A request for a device of a key, waiting in the tracker's queue until it is closed.

    Attributes:
        connection: readable once there is an answer.
    """

    def __init__(self, address: TrackerAddress, key: str) -> None:
        """Sends the request and does not wait for the answer.

        Raises:
            DeviceError: nobody answers at the address, or somebody who is no tracker.
        """
        self._address = address
        self._key = key
        self.connection = _connect(address)
        try:
            _send(self.connection, [_REQUEST, key, "tunekit", _PRIORITY])
        except OSError as error:
            self.connection.close()
            raise _not_a_tracker(address, error) from error

    def grant(self) -> Grant:
        """The device, once there is an answer.

        Raises:
            DeviceError: the tracker has gone away.
        """
        try:
            status, (host, port, match_key) = _receive(self.connection)
            if status != _SUCCESS:
                raise ValueError(f"status {status}")
            return Grant(Device(self._key, str(host), int(port)), str(match_key))
        except (OSError, ValueError, TypeError) as error:
            raise _not_a_tracker(self._address, error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Takes the request back; the tracker gives no device to a closed connection."""
        self.connection.close()


def wait_for_device(address: TrackerAddress, key: str, wait_s: float) -> Grant:
    """A device of the key, free for whoever asked; it takes back what is not used in seconds.

    Raises:
        DeviceError: no tracker answers, or it had no free device for `wait_s` seconds.
    """
    request = DeviceRequest(address, key)
    if wait([request.connection], wait_s):
        return request.grant()
    request.close()
    raise DeviceError(
        f"the tracker at {address} had no free device of key {key!r} for {wait_s:g} s",
        hint=f"on the device, run: {server_command(address, key)}",
    )


def _connect(address: TrackerAddress) -> socket.socket:
    try:
        connection = socket.create_connection((address.host, address.port), timeout=_TIMEOUT_S)
    except OSError as error:
        raise DeviceError(
            f"no RPC tracker answers at {address}: {error.strerror or error}",
            hint=f"start one with: python -m tvm.exec.rpc_tracker --host 0.0.0.0 "
            f"--port {address.port}",
        ) from error
    try:
        connection.sendall(struct.pack("<i", _MAGIC))
        if struct.unpack("<i", _exactly(connection, 4))[0] != _MAGIC:
            raise ValueError("another magic number")
    except (OSError, ValueError) as error:
        connection.close()
        raise _not_a_tracker(address, error) from error
    return connection


def _not_a_tracker(address: TrackerAddress, error: Exception) -> DeviceError:
    return DeviceError(
        f"what answers at {address} does not behave like an RPC tracker: {error}",
        hint="is it the tracker's port, and not that of a server?",
    )


def _send(connection: socket.socket, message: Any) -> None:
    data = json.dumps(message).encode()
    connection.sendall(struct.pack("<i", len(data)) + data)


def _receive(connection: socket.socket) -> Any:
    size = struct.unpack("<i", _exactly(connection, 4))[0]
    if not 0 < size <= _LARGEST_MESSAGE:
        raise ValueError(f"a message of {size} bytes")
    return json.loads(_exactly(connection, size))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the connection was closed")
        data += part
    return data
