"""The life of a candidate's process: build, measure when told to, compare outputs when told to.

Whatever the candidate does, crash, hang, exhaust the memory, ends with this process. It says
`Built`, and answers the server: a `MeasureOrder` with `Measured`, `Expected` outputs with
`Checked`. `Failed`, in place of any of these, is its last word.
"""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from tunekit.machine.huge_pages import ask_for_huge_pages
from tunekit.measure import correctness
from tunekit.measure.build import build_to_run, with_packed_weights
from tunekit.measure.correctness import Expected
from tunekit.measure.cpu_cache import eviction
from tunekit.measure.measurer import Candidate, MeasureOptions
from tunekit.measure.messages import Built, Checked, Measured, answer
from tunekit.measure.noise_guard import Calibration, Reading
from tunekit.measure.timing import MeasureOrder, take_readings, time_samples
from tunekit.processes.child import pin_to_cores

if TYPE_CHECKING:
    import mmap

    from tunekit.measure.correctness import Array


@dataclass(frozen=True)
class Shared:
    """What a candidate's process has from the server's memory.

    Attributes:
        pool: random floats.
        calibration: the calibration kernel, None without the noise guard.
        memory: the expected outputs of the candidate's workload, if they are wanted.
    """

    pool: Array
    calibration: Calibration | None
    memory: mmap.mmap | None = None


def measure_candidate(
    connection: Connection, options: MeasureOptions, candidate: Candidate, shared: Shared
) -> None:
    """Builds a candidate and then obeys, until the process is killed or the candidate fails."""

    def work() -> None:
        process = _CandidateProcess(options, candidate, shared)
        connection.send(Built())
        while True:
            order: MeasureOrder | Expected = connection.recv()
            if isinstance(order, MeasureOrder):
                connection.send(Measured(process.measure(order)))
            else:
                connection.send(Checked(process.check(order)))

    answer(connection, work)


class _CandidateProcess:
    def __init__(self, options: MeasureOptions, candidate: Candidate, shared: Shared) -> None:
        import tvm

        self._options = options
        self._candidate = candidate
        self._shared = shared
        self._module = tvm.ir.load_json(candidate.module_json)
        self._library = build_to_run(with_packed_weights(self._module), options)
        self._device = tvm.runtime.device(options.device, 0)
        self._tensors: list[Any] = []
        self._evict = ""

    def measure(self, order: MeasureOrder) -> list[Reading]:
        """Readings, one at least; seconds of one call in each of their samples."""
        if not self._tensors:
            import numpy as np
            import tvm

            pin_to_cores(self._options.threads)
            self._evict = eviction(self._options.cpu_cache, self._candidate)
            self._tensors = [
                tvm.runtime.tensor(
                    correctness.filled(argument, self._shared.pool, position=position), self._device
                )
                for position, argument in enumerate(self._candidate.arguments)
            ]
            if self._options.huge_pages and self._options.device == "cpu":
                for tensor in self._tensors:
                    array = np.from_dlpack(tensor)
                    ask_for_huge_pages(array.ctypes.data, array.nbytes)
        calibration = self._shared.calibration
        return take_readings(
            self._sample,
            None if calibration is None else calibration.time,
            self._options,
            order,
            evicts=bool(self._evict),
        )

    def check(self, expected: Expected) -> str:
        """What is wrong with the outputs, "" if nothing is."""
        assert self._shared.memory is not None
        library = self._library
        if self._candidate.packs_weights:
            # Measured is what runs on weights that were packed before; here they come as they are.
            library = build_to_run(self._module, self._options)
        return correctness.what_is_wrong(
            library["main"],
            expected,
            self._shared.memory,
            self._candidate.unscheduled_arguments,
            self._shared.pool,
            self._device,
        )

    def _sample(self, number: int, repeat: int) -> list[float]:
        """Seconds of one call in each of `repeat` samples, of `number` calls each."""
        return time_samples(
            self._library, self._device, self._tensors, number, repeat, evict=self._evict
        )
