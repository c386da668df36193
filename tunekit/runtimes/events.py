"""What the kernel and the CPU count of a process, where they do."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

# Of linux/perf_event.h: kind and number of an event.
INSTRUCTIONS = (0, 1)
_SYSCALL = {"x86_64": 298, "aarch64": 241}
# struct perf_event_attr in its first version.
_ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
# For each value read: how long the event was enabled, and how long it was counted.
_WITH_TIMES = 0b11
_INHERIT, _NOT_THE_KERNEL, _NOT_THE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
_READ = struct.Struct("=QQQ")


class EventCounter:
    """Counts an event in this process, and in all threads and processes that it starts from now
    on, outside of the kernel.

    Says nothing on virtual machines without performance counters, where the kernel forbids it
    (`perf_event_paranoid`), and elsewhere than on Linux.
    """

    def __init__(self, event: tuple[int, int]) -> None:
        self._file = _opened(*event)

    def read(self) -> int | None:
        """How often so far; None where nobody knows."""
        if self._file is None:
            return None
        count, enabled, running = _READ.unpack(os.read(self._file, _READ.size))
        # Events that share a counter of the CPU are counted a part of the time each.
        return round(count * enabled / running) if running else None


def _opened(kind: int, event: int) -> int | None:
    number = _SYSCALL.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return None
    attributes = ctypes.create_string_buffer(
        _ATTRIBUTES.pack(
            *(kind, _ATTRIBUTES.size, event, 0, 0, _WITH_TIMES),
            _INHERIT | _NOT_THE_KERNEL | _NOT_THE_HYPERVISOR,
            *(0, 0, 0),
        ),
        _ATTRIBUTES.size,
    )
    this_process, any_cpu, no_group, no_flags = 0, -1, -1, 0
    call: int = ctypes.CDLL(None).syscall(
        number, attributes, this_process, any_cpu, no_group, no_flags
    )
    return call if call >= 0 else None
