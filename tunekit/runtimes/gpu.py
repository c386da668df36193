"""What runtimes on an NVIDIA GPU have in common: transfers, their cost, memory and utilisation."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

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

    @classmethod
    def lacks(cls) -> str | None:
        from tunekit.machine.host import detect_host

        return None if detect_host().gpus else "NVIDIA GPU"

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
            busy.append(_utilisation())
        known = [percent for percent in busy if percent is not None]
        return {
            "without_transfers_ms": 1e3 * median(samples),
            "gpu_percent": median(known) if known else None,
            "gpu_mib": _memory_mib(),
        }

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
        return list(result)


def _utilisation() -> int | None:
    """Percent of the time in which the GPU worked of late; None where NVML does not tell."""
    with contextlib.suppress(Exception):
        nvml, handle = _gpu()
        return int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    return None


def _memory_mib() -> float | None:
    """Of this process on the GPU; None where NVML does not tell."""
    with contextlib.suppress(Exception):
        nvml, handle = _gpu()
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            if process.pid == os.getpid() and process.usedGpuMemory:
                return float(process.usedGpuMemory) / _MIB
    return None


def _gpu() -> tuple[Any, Any]:
    nvml: Any = importlib.import_module("pynvml")
    nvml.nvmlInit()
    return nvml, nvml.nvmlDeviceGetHandleByIndex(0)
