"""The devices of one key as a batch sees them: asked for, given, in use, refused.

A tracker gives a device away once for each time that it registers, and a server registers when it
starts and again after each session. So a device that died or hangs is out of the game by itself,
and one that is given again has just shown that it lives.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from tunekit.errors import DeviceError
from tunekit.measure.noise_guard import UsualSpeed
from tunekit.rpc.tracker import DeviceRequest, Grant, TrackerAddress, tracker_summary

# A server takes back what was given and not used after six seconds.
_GRANT_LIFE_S = 3.0
_SUMMARY_LIFE_S = 1.0
_RETRY_S = 1.0
# Sessions in a row that a device may lose before any candidate runs.
_FAULTS = 3


class DevicePool:
    """Asks a tracker for devices of one key, and remembers which of them cannot be used.

    Attributes:
        refused: why a device is not used any more, by its name.
        proven: what the devices that ran the probe say of themselves, by name.
        usual: how fast each device usually is, by name.
        trouble: what is wrong with the tracker, None as long as it answers.
    """

    def __init__(self, address: TrackerAddress, key: str) -> None:
        self.address = address
        self.key = key
        self.refused: dict[str, str] = {}
        self.proven: dict[str, dict[str, str | int]] = {}
        self.usual: defaultdict[str, UsualSpeed] = defaultdict(UsualSpeed)
        self.trouble: DeviceError | None = None
        self._requests: list[DeviceRequest] = []
        self._grants: list[tuple[float, Grant]] = []
        self._faults: Counter[str] = Counter()
        self._known: frozenset[str] = frozenset()
        self._known_at = -float("inf")
        self._next_try = 0.0

    @property
    def requests(self) -> Sequence[DeviceRequest]:
        """What waits for an answer."""
        return self._requests

    def want(self, devices: int) -> None:
        """Has this many requests wait at the tracker, those already answered included."""
        self._drop_stale()
        missing = devices - len(self._grants) - len(self._requests)
        while missing < 0 and self._requests:
            self._requests.pop().close()
            missing += 1
        while missing > 0 and time.monotonic() >= self._next_try:
            try:
                self._requests.append(DeviceRequest(self.address, self.key))
                self.trouble = None
            except DeviceError as error:
                self._stumble(error)
            missing -= 1

    def collect(self, ready: Collection[object]) -> None:
        """Reads the answers of those requests whose connections are `ready`."""
        for request in [request for request in self._requests if request.connection in ready]:
            self._requests.remove(request)
            try:
                grant = request.grant()
            except DeviceError as error:
                self._stumble(error)
                continue
            # A refused one is not given back, there is no way to: it registers again by itself.
            if grant.device.name not in self.refused:
                self._grants.append((time.monotonic(), grant))

    def take(self, avoid: Collection[str] = ()) -> Grant | None:
        """A device that was given, none of those to `avoid`."""
        self._drop_stale()
        for position, (_, grant) in enumerate(self._grants):
            if grant.device.name not in avoid:
                return self._grants.pop(position)[1]
        return None

    def known(self) -> frozenset[str]:
        """Names of the key's devices that the tracker has, busy ones included, without refused."""
        now = time.monotonic()
        if now - self._known_at > _SUMMARY_LIFE_S:
            self._known_at = now
            try:
                devices = tracker_summary(self.address).of_key(self.key)
                self._known = frozenset(device.name for device in devices)
                self.trouble = None
            except DeviceError as error:
                self._stumble(error)
                self._known = frozenset()
        return self._known - self.refused.keys()

    def all_refused(self) -> bool:
        """Whether the tracker has devices of the key, and none of them can be used."""
        return not self.known() and bool(self._known)

    def fault(self, device: str, text: str) -> None:
        """Notes that a session ended before a candidate ran; the third in a row is one too many."""
        self._faults[device] += 1
        if self._faults[device] >= _FAULTS:
            self.refused[device] = text

    def fine(self, device: str) -> None:
        """Notes that the device works."""
        self._faults.pop(device, None)

    def close(self) -> None:
        """Takes all requests back."""
        while self._requests:
            self._requests.pop().close()
        self._grants.clear()

    def _drop_stale(self) -> None:
        oldest = time.monotonic() - _GRANT_LIFE_S
        self._grants = [(given, grant) for given, grant in self._grants if given > oldest]

    def _stumble(self, error: DeviceError) -> None:
        self.trouble = error
        self._next_try = time.monotonic() + _RETRY_S
