"""What a kernel in C takes while it runs: memory, and tasks that share its work."""

from __future__ import annotations

_BYTES = {"float": 4, "int32_t": 4, "uint32_t": 4}
_ALIGNMENT = 64
# How many tasks share what can be shared; a power of two.
TASKS = 16


class Scratch:
    """The memory of a kernel while it runs, cut into arrays.

    Attributes:
        bytes: how much it is.
    """

    def __init__(self) -> None:
        self.bytes = 0

    def array(self, element: str, count: int) -> str:
        """Takes an array; returns the C expression of its address."""
        start = self.bytes
        self.bytes += -(-count * _BYTES[element] // _ALIGNMENT) * _ALIGNMENT
        return f"({element} *)(workspace + {start})"


def tasks_for(rows: int) -> int:
    """How many tasks share rows: a power of two, no more than there are rows."""
    return int(min(TASKS, 1 << max(rows, 1).bit_length() - 1))
