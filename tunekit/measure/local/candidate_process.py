"""The life of a candidate's process: build, measure when told to, compare outputs when told to.

Whatever the candidate does, crash, hang, exhaust the memory, ends with this process. It answers the
server's messages, tuples whose first part says what they are:

    -> ("built",)
    <- ("measure", MeasureOrder)         -> ("measured", readings)
    <- ("check", Expected)               -> ("checked", what is wrong or "")
    -> ("failed", text) in place of any of these, after which the process ends
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

from tunekit.graph.lowering import build as lowering
from tunekit.machine.huge_pages import ask_for_huge_pages
from tunekit.measure import correctness
from tunekit.measure.correctness import Expected
from tunekit.measure.cpu_cache import eviction
from tunekit.measure.measurer import Candidate, MeasureOptions
from tunekit.measure.noise_guard import Calibration, Reading
from tunekit.measure.timing import MeasureOrder, take_readings, time_samples
from tunekit.measure.verdict import failure_text
from tunekit.processes.child import (
    die_with_parent,
    leave_no_core,
    pin_to_cores,
)

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


def candidate_main(
    connection: Connection,
    parent: int,
    options: MeasureOptions,
    candidate: Candidate,
    shared: Shared,
) -> NoReturn:
    """Builds and then obeys; never returns."""

    def work() -> None:
        process = _CandidateProcess(options, candidate, shared)
        connection.send(("built",))
        while True:
            message = connection.recv()
            if message[0] == "measure":
                connection.send(("measured", process.measure(message[1])))
            else:
                connection.send(("checked", process.check(message[1])))

    _live(connection, parent, options, work)


def reference_main(
    connection: Connection,
    parent: int,
    options: MeasureOptions,
    candidate: Candidate,
    shared: Shared,
) -> NoReturn:
    """Computes the expected outputs of a candidate's workload; never returns."""

    def work() -> None:
        import tvm

        assert candidate.workload_json is not None
        assert shared.memory is not None
        expected = correctness.compute_expected(
            tvm.ir.load_json(candidate.workload_json),
            # Plain loops, which no other device than a CPU runs.
            _target(options) if options.device == "cpu" else tvm.target.Target("llvm"),
            candidate.unscheduled_arguments,
            shared.pool,
            shared.memory,
        )
        connection.send(("expected", expected))

    _live(connection, parent, options, work)


def _live(connection: Connection, parent: int, options: MeasureOptions, work: Any) -> NoReturn:
    try:
        os.setsid()
        die_with_parent(parent)
        resource.setrlimit(resource.RLIMIT_DATA, (options.memory_bytes, options.memory_bytes))
        leave_no_core()
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - a failed candidate is data
            connection.send(("failed", failure_text(error)))
    finally:
        # Not sys.exit: nothing of the server's may be flushed or finalised twice.
        os._exit(0)


class _CandidateProcess:
    def __init__(self, options: MeasureOptions, candidate: Candidate, shared: Shared) -> None:
        import tvm

        self._options = options
        self._candidate = candidate
        self._shared = shared
        self._module = tvm.ir.load_json(candidate.module_json)
        self._library = self._build(keep_rewrites=False)
        self._device = tvm.runtime.device(options.device, 0)
        self._tensors: list[Any] = []
        self._evict = ""

    def measure(self, order: MeasureOrder) -> list[Reading]:
        """Readings, one at least; seconds of one call in each of their samples."""
        if not self._tensors:
            import numpy as np
            import tvm

            pin_to_cores(self._options.threads)
            self._evict = eviction(self._options.cache, self._candidate)
            self._tensors = [
                tvm.runtime.tensor(
                    correctness.filled(argument, self._shared.pool, position=at), self._device
                )
                for at, argument in enumerate(self._candidate.arguments)
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
        )

    def check(self, expected: Expected) -> str:
        """What is wrong with the outputs, "" if nothing is."""
        assert self._shared.memory is not None
        library = self._library
        if self._candidate.packs_weights:
            # Measured is what runs on weights that were packed before; here they come as they are.
            library = self._build(keep_rewrites=True)
        return correctness.what_is_wrong(
            library["main"],
            expected,
            self._shared.memory,
            self._candidate.unscheduled_arguments,
            self._shared.pool,
            self._device,
        )

    def _build(self, *, keep_rewrites: bool) -> Any:
        from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

        module = self._module
        if not keep_rewrites:
            module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
        library = lowering.build(module, _target(self._options))
        # LLVM compiles at the first look-up: now, several candidates at a time and within the
        # build's limit, rather than in the time and the quiet that measuring needs.
        library["main"]
        return library

    def _sample(self, number: int, repeat: int) -> list[float]:
        """Seconds of one call in each of `repeat` samples, of `number` calls each."""
        return time_samples(
            self._library, self._device, self._tensors, number, repeat, evict=self._evict
        )


def _target(options: MeasureOptions) -> Any:
    import json

    import tvm

    return tvm.target.Target(json.loads(options.target))
