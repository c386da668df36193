"""What NVIDIA's management library (NVML) tells of a GPU: its memory, and how much it works."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from tunekit.wording import error_line

PACKAGE = "nvidia-ml-py>=12"
"""What pip installs for it."""

BY_PROCESS = "process"
"""How memory is known: NVML has it for the process."""

BY_GROWTH = "growth"
"""How memory is known: so much more of the GPU's was in use after the process had warmed up."""


class Nvml:
    """The first GPU. What it does not tell is None, and `problem` says why.

    Attributes:
        problem: of the last question without an answer, in one line; None where there was none.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self._nvml: Any = None
        try:
            nvml: Any = importlib.import_module("pynvml")
            nvml.nvmlInit()
            self._gpu: Any = nvml.nvmlDeviceGetHandleByIndex(0)
            self._nvml = nvml
        except ImportError:
            self.problem = f"NVML's package is not installed: pip install '{PACKAGE}'"
        except Exception as error:  # noqa: BLE001 - whatever NVML raises is the reason
            self.problem = error_line(error)

    def utilisation(self) -> int | None:
        """Percent of the time in which the GPU worked of late."""
        used = self._answer(lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)
        return None if used is None else int(used)

    def used_bytes(self) -> int | None:
        """Of the GPU's memory, by whomever."""
        used = self._answer(lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used)
        return None if used is None else int(used)

    def processes(self) -> list[tuple[int, int | None]]:
        """Number and memory of each process on the GPU; the memory is None where it is not known.

        The driver numbers processes as the host does, which in a container are others.
        """
        found = self._answer(lambda nvml, gpu: nvml.nvmlDeviceGetComputeRunningProcesses(gpu))
        return [(process.pid, process.usedGpuMemory) for process in found or ()]

    def _answer(self, question: Callable[[Any, Any], Any]) -> Any:
        if self._nvml is None:
            return None
        try:
            return question(self._nvml, self._gpu)
        except Exception as error:  # noqa: BLE001 - likewise
            self.problem = error_line(error)
            return None


def memory_of(
    pid: int,
    processes: Sequence[tuple[int, int | None]],
    *,
    before: int | None,
    after: int | None,
) -> tuple[int, str] | None:
    """Bytes that a process has on the GPU, and how that is known; None where it is not.

    Args:
        pid: the process's own number.
        processes: those on the GPU, as `Nvml.processes` has them.
        before: bytes of the GPU's memory that were in use before the process loaded its model.
        after: those when it had warmed up.
    """
    for number, used in processes:
        if number == pid and used:
            return used, BY_PROCESS
    # None at all is not true of a process on the GPU: then it is another GPU, or others let go.
    if before is not None and after is not None and after > before:
        return after - before, BY_GROWTH
    return None
