"""The life of a candidate's process: build, measure when told to, compare outputs when told to.

Whatever the candidate does, crash, hang, exhaust the memory, ends with this process. It answers the
server's messages, tuples whose first part says what they are:

    -> ("built",)
    <- ("measure", MeasureOrder)         -> ("measured", readings)
    <- ("check", Expected)               -> ("checked", what is wrong or "")
    -> ("failed", text) in place of any of these, after which the process ends
"""

from __future__ import annotations

import math
import os
import resource
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

from tunekit.catalogue.entries import mean
from tunekit.child_process import die_with_parent, leave_no_core, pin_to_cores
from tunekit.search import correctness
from tunekit.search.caches import eviction
from tunekit.search.correctness import Expected
from tunekit.search.noise import (
    Calibration,
    Reading,
    disturbed,
    quiet_level,
    undisturbed_seconds,
)
from tunekit.search.trial import Candidate, MeasureOptions

if TYPE_CHECKING:
    import mmap

    from tunekit.search.correctness import Array

_LEAST_SAMPLES = 3
# Near the best: worth twice the samples. Out of reach: not worth waiting for a quieter host.
_NEAR = 1.1
_OUT_OF_REACH = 1.5
# A slow host is waited for: so often, at first so long (then double).
_MOST_READINGS = 4
_FIRST_PAUSE_S = 0.02
# Calibrations in a row that say what is usual where nothing is known of this host.
_FIRST_CALIBRATIONS = 8


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


@dataclass(frozen=True)
class MeasureOrder:
    """`best_s`: the fastest so far, infinite before there is one. `usual_s`: the calibration
    kernel's usual seconds, None before they are known. `once`: take one reading, as other rounds
    follow."""

    best_s: float
    usual_s: float | None
    once: bool


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
            _target(options),
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
            text = str(error).strip() or type(error).__name__
            if isinstance(error, MemoryError):
                text = f"MemoryError: {text}"
            connection.send(("failed", _last_lines(text)))
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
        self._tensors: list[Any] = []
        self._evict = ""

    def measure(self, order: MeasureOrder) -> list[Reading]:
        """Readings, one at least; seconds of one call in each of their samples."""
        if not self._tensors:
            import tvm

            pin_to_cores(self._options.threads)
            self._evict = eviction(self._options.cache, self._candidate)
            device = tvm.runtime.device(self._options.device, 0)
            self._tensors = [
                tvm.runtime.tensor(
                    correctness.filled(argument, self._shared.pool, position=at), device
                )
                for at, argument in enumerate(self._candidate.arguments)
            ]
        first = self._sample(1, 1)
        if first[0] > self._candidate.slow_s:
            # Once more: the first may have met a bad moment.
            first += self._sample(1, 1)
            if min(first) > self._candidate.slow_s:
                return [Reading(tuple(first))]
        usual_s = order.usual_s
        if usual_s is None and self._shared.calibration is not None:
            usual_s = quiet_level(
                [s for _ in range(_FIRST_CALIBRATIONS) for s in self._shared.calibration.time()]
            )
        started = time.monotonic()
        readings = [self._reading(min(first))]
        reading_s = time.monotonic() - started
        # Further readings must not make a time-out of a good candidate.
        deadline = started + self._options.run_timeout_s / 2 - reading_s
        pause_s = _FIRST_PAUSE_S
        while not order.once and self._options.noise_guard and len(readings) < _MOST_READINGS:
            seconds = undisturbed_seconds(readings, usual_s)
            if seconds > _OUT_OF_REACH * order.best_s or time.monotonic() + pause_s > deadline:
                break
            if disturbed(readings, usual_s):
                time.sleep(pause_s)
                pause_s *= 2
            elif len(readings) > 1 or not seconds <= _NEAR * order.best_s < math.inf:
                break
            readings.append(self._reading(min(first)))
        return readings

    def check(self, expected: Expected) -> str:
        """What is wrong with the outputs, "" if nothing is."""
        assert self._shared.memory is not None
        library = self._library
        if "layout_rewrite" in self._candidate.module_json:
            # Measured is what runs on weights that were packed before; here they come as they are.
            library = self._build(keep_rewrites=True)
        return correctness.what_is_wrong(
            library["main"],
            expected,
            self._shared.memory,
            self._candidate.unscheduled_arguments,
            self._shared.pool,
        )

    def _build(self, *, keep_rewrites: bool) -> Any:
        import tvm
        from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

        module = self._module
        if not keep_rewrites:
            module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
        library = tvm.tirx.build(module, _target(self._options))
        # LLVM compiles at the first look-up: now, several candidates at a time and within the
        # build's limit, rather than in the time and the quiet that measuring needs.
        library["main"]
        return library

    def _reading(self, once_s: float) -> Reading:
        options = self._options
        sample_s = options.min_repeat_ms / 1000
        number = max(1, math.ceil(sample_s / max(once_s, 1e-7)))
        affordable = math.ceil(options.repeat * sample_s / max(once_s * number, 1e-7))
        least = _LEAST_SAMPLES if once_s < options.run_timeout_s / 8 else 1
        repeat = min(options.repeat, max(least, affordable))
        calibration = self._shared.calibration
        if calibration is None:
            return Reading(tuple(self._sample(number, repeat)))
        before = calibration.time()
        samples = self._sample(number, repeat)
        return Reading(tuple(samples), quiet_level(before + calibration.time()))

    def _sample(self, number: int, repeat: int) -> list[float]:
        """Seconds of one call in each of `repeat` samples, of `number` calls each."""
        import tvm

        # TVM evicts before a sample, not before each of its calls.
        calls = number if self._evict else 1
        evaluator = self._library.time_evaluator(
            "main",
            tvm.runtime.device(self._options.device, 0),
            number=number // calls,
            repeat=repeat * calls,
            f_preproc=self._evict,
        )
        seconds = [float(value) for value in evaluator(*self._tensors).results]
        return [mean(tuple(seconds[at : at + calls])) for at in range(0, len(seconds), calls)]


def _target(options: MeasureOptions) -> Any:
    import json

    import tvm

    return tvm.target.Target(json.loads(options.target))


def _last_lines(text: str) -> str:
    """The message of a TVM error without the C++ backtrace in front of it."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-6:])
