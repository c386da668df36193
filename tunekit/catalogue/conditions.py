"""Under which conditions something was measured: what its seconds depend on besides the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

CpuCache = Literal["warm", "weights", "flush"]
"""What a timed run finds in the CPU's caches: everything, everything but the weights, or its first
argument only."""


@dataclass(frozen=True)
class Conditions:
    """Under which seconds compare: equal conditions, comparable seconds.

    Attributes:
        target: canonical JSON of the target.
        host: fingerprint of the machine, or of the devices, that measured.
        toolchain: key of its versions (`toolchain_key`).
        cpu_cache: what the kernels found in the caches; None: whatever it was.
    """

    target: str
    host: str
    toolchain: str
    cpu_cache: CpuCache | None = None

    @property
    def measured_with(self) -> dict[str, Any] | None:
        """The measuring options that have to be these; None: any will do."""
        return None if self.cpu_cache is None else {"cache": self.cpu_cache}
