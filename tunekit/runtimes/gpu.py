"""What runtimes on an NVIDIA GPU have in common: transfers, their cost, memory and utilisation."""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.nvml import Nvml, memory_of
from tunekit.runtimes.runtime import Runtime

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_RESIDENT_S = 0.5
_MIB = 2**20


class OnGpu(Runtime):
    """A runtime whose model is on a GPU.

    A run begins and ends in the host's memory, as with every other runtime: what the transfers cost
    is part of it. The settings say what it takes without them.
    """

    device: ClassVar[str] = "cuda"
    _used_after: int | None = None

    @classmethod
    def lacks(cls) -> str | None:
        from tunekit.machine.host import detect_host

        return None if detect_host().gpus else "NVIDIA GPU"

    def seen_at_first(self) -> None:
        self._nvml = Nvml()
        self._used_before = self._nvml.used_bytes()

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        settings = self.open(plan, inputs, threads)
        self.upload()
        return settings

    def seen_at_last(self) -> dict[str, Any]:
        samples: list[float] = []
        busy = []
        end = time.perf_counter() + _RESIDENT_S
        while not samples or time.perf_counter() < end:
            before = time.perf_counter()
            self.compute()
            samples.append(time.perf_counter() - before)
            busy.append(self._nvml.utilisation())
        known = [percent for percent in busy if percent is not None]
        seen: dict[str, Any] = {
            "without_transfers_ms": 1e3 * median(samples),
            "gpu_percent": median(known) if known else None,
            **self._memory(),
        }
        if seen["gpu_percent"] is None or seen["gpu_mib"] is None:
            seen["gpu_problem"] = self._nvml.problem or "NVML names no memory of this process"
        return seen

    def _memory(self) -> dict[str, Any]:
        processes = self._nvml.processes()
        before, after = self._used_before, self._used_after
        known = memory_of(os.getpid(), processes, before=before, after=after)
        if known is None:
            return {"gpu_mib": None}
        used, known_by = known
        return {"gpu_mib": used / _MIB, "gpu_mib_by": known_by}

    @abstractmethod
    def open(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        """Gets ready, as `load`; returns the settings."""

    @abstractmethod
    def upload(self) -> None:
        """Brings the inputs to the GPU."""

    @abstractmethod
    def compute(self) -> None:
        """Runs the model on what is on the GPU, and waits for it."""

    @abstractmethod
    def download(self) -> Sequence[Array]:
        """Brings the outputs back."""

    def infer(self) -> object:
        self.upload()
        self.compute()
        return self.download()

    def arrays(self, result: Any) -> Sequence[Array]:
        # The first time it has warmed up, and no other runtime has begun to load.
        if self._used_after is None:
            self._used_after = self._nvml.used_bytes()
        return list(result)
