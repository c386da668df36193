"""What this machine can do at best, measured: multiply-adds and bytes a second, and thread starts.

A kernel is limited by its arithmetic or by the bytes that it moves (Williams, Waterman, Patterson:
"Roofline: An Insightful Visual Performance Model", CACM 2009). Both limits are measured by kernels
of TVM's own, built for the target that the library was built for and run on TVM's own threads:
another compiler's peak would be another question. The machine's speed changes with what else it
does, so they are measured in the process of the library, before and after each of its turns.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.cache import ContentCache, content_key
from tunekit.errors import CompileError
from tunekit.machine.toolchain import versions

if TYPE_CHECKING:
    from tvm.s_tir import Schedule

    from tunekit.machine.target import ResolvedTarget

# Multiply-adds have a latency of 4 to 5 cycles on two pipes: ten accumulators keep both busy, and
# twelve leave registers for the operands also where there are only sixteen.
_ACCUMULATORS = 12
_STEPS = 1 << 18
# MiB of three arrays together: from what second caches hold to more than most last caches do.
_STREAMS_MIB = (1, 4, 16, 64, 288)

_VECTOR_FLOATS = 64

_REPEATS = 5
_LEAST_STREAMED_S = 0.005
_LAUNCHES = 200

_FILE = "roofline.so"


@dataclass(frozen=True)
class Peaks:
    """The machine at one moment.

    Attributes:
        flops_per_s: floating-point operations, two for a multiply-add, all threads together.
        bytes_per_s: read and written, all threads together, as STREAM's triad counts, going round
            as many bytes as one run of the library does: what of it stays in caches, stays here.
        memory_bytes_per_s: the same where no cache helps.
        streamed_mib: that the first of these two went round.
        launch_s: seconds of a parallel loop with nothing to do in it.
    """

    flops_per_s: float
    bytes_per_s: float
    memory_bytes_per_s: float
    streamed_mib: int
    launch_s: float


def build(target: ResolvedTarget, threads: int, cache: ContentCache) -> dict[str, Any]:
    """Builds the kernels, or finds them in the cache; gives what `Roofline` needs, as JSON can.

    Raises:
        CompileError: TVM or the system's linker failed.
    """
    lanes = target.f32_lanes
    key = content_key("roofline", target.spec, threads, _STEPS, _STREAMS_MIB, versions())
    entry = cache.get("roofline", key)
    if entry is None:
        with cache.put("roofline", key) as folder:
            _export(target, threads, lanes, folder / _FILE)
        entry = cache.get("roofline", key)
        if entry is None:
            raise CompileError("the roofline's kernels did not survive in the cache")
    return {"file": str(entry / _FILE), "threads": threads, "lanes": lanes}


class Roofline:
    """The kernels of one plan, loaded, with their arrays: 288 MiB for as long as it lives.

    Args:
        plan: as `build` gave it.
        touched_bytes: by one run of what is set against the peaks.
    """

    def __init__(self, plan: Mapping[str, Any], touched_bytes: int) -> None:
        import numpy as np
        import tvm

        module = tvm.runtime.load_module(plan["file"])
        shape = (plan["threads"], _ACCUMULATORS, plan["lanes"])
        self._flops = 2.0 * _STEPS * plan["threads"] * _ACCUMULATORS * plan["lanes"]
        seeds = tvm.runtime.tensor(np.full(plan["lanes"], 0.5, np.float32))
        results = tvm.runtime.tensor(np.zeros(shape, np.float32))
        marks = tvm.runtime.tensor(np.zeros(plan["threads"], np.float32))
        multiply_add, launch = module["multiply_add"], module["launch"]
        largest = _STREAMS_MIB[-1]
        self._streamed_mib = next(
            (size for size in _STREAMS_MIB if size << 20 >= touched_bytes), largest
        )
        self._streams: dict[int, Callable[[], object]] = {}
        for size in {self._streamed_mib, largest}:
            arrays = [
                tvm.runtime.tensor(np.full(_stream_floats(size), value, np.float32))
                for value in (1, 2, 0)
            ]
            triad = module[f"triad_{size}"]
            self._streams[size] = functools.partial(triad, *arrays)
        self._multiply_add: Callable[[], object] = lambda: multiply_add(seeds, results)
        self._launch: Callable[[], object] = lambda: launch(marks)

    def measure(self) -> Peaks:
        """The peaks now: the best of a few runs each, as a peak is what can be reached."""
        launches = [_seconds(self._launch) for _ in range(_LAUNCHES)]
        return Peaks(
            flops_per_s=self._flops / min(_seconds(self._multiply_add) for _ in range(_REPEATS)),
            bytes_per_s=self._bytes_per_s(self._streamed_mib),
            memory_bytes_per_s=self._bytes_per_s(_STREAMS_MIB[-1]),
            streamed_mib=self._streamed_mib,
            launch_s=statistics.median(launches),
        )

    def _bytes_per_s(self, size_mib: int) -> float:
        stream, best_s, spent_s, runs = self._streams[size_mib], math.inf, 0.0, 0
        while runs < _REPEATS or spent_s < _LEAST_STREAMED_S:
            seconds = _seconds(stream)
            best_s, spent_s, runs = min(best_s, seconds), spent_s + seconds, runs + 1
        return 3.0 * 4 * _stream_floats(size_mib) / best_s


def _stream_floats(size_mib: int) -> int:
    """Numbers in each of the three arrays: whole vectors, however wide."""
    return (size_mib << 20) // (3 * 4 * _VECTOR_FLOATS) * _VECTOR_FLOATS


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _export(target: ResolvedTarget, threads: int, lanes: int, path: Path) -> None:
    import tvm
    from tvm.ir import IRModule

    schedules = {
        "multiply_add": _multiply_add(threads, lanes),
        "launch": _launch(threads),
        **{f"triad_{size}": _triad(_stream_floats(size), lanes) for size in _STREAMS_MIB},
    }
    functions = {
        name: schedule.mod["main"].with_attr("global_symbol", name)
        for name, schedule in schedules.items()
    }
    try:
        with target.tvm:
            executable = tvm.compile(IRModule(functions), target=target.tvm)
        executable.export_library(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise CompileError(
            f"the roofline's kernels could not be compiled: {error}",
            hint="`tunekit doctor` checks the compiler",
        ) from error


def _multiply_add(threads: int, lanes: int) -> Schedule:
    """acc = acc * c + x in registers, many times: nothing to load, and nothing to simplify."""
    from tvm import te, tirx

    recurrence = te.comm_reducer(
        lambda accumulated, value: accumulated * tirx.const(0.75, "float32") + value,
        lambda dtype: tirx.const(0, dtype),
    )
    seeds = te.placeholder((lanes,), name="seeds")
    step = te.reduce_axis((0, _STEPS), name="step")
    results = te.compute(
        (threads, _ACCUMULATORS, lanes),
        lambda _thread, _accumulator, lane: recurrence(seeds[lane], axis=step),
        name="results",
    )
    schedule = _schedule(seeds, results)
    block = schedule.get_sblock("results")
    copy = schedule.cache_write(block, 0, "global")
    schedule.set_scope(block, 0, "local")
    thread, accumulator, lane, steps = schedule.get_loops(block)
    schedule.reorder(thread, steps, accumulator, lane)
    schedule.parallel(thread)
    schedule.reverse_compute_at(copy, thread)
    schedule.unroll(accumulator)
    schedule.vectorize(lane)
    for other in (copy, schedule.decompose_reduction(block, steps)):
        *_, accumulator, lane = schedule.get_loops(other)
        schedule.unroll(accumulator)
        schedule.vectorize(lane)
    return schedule


def _triad(floats: int, lanes: int) -> Schedule:
    """c = a + s * b, from J. McCalpin's STREAM: two arrays read, one written."""
    from tvm import te, tirx

    a = te.placeholder((floats,), name="a")
    b = te.placeholder((floats,), name="b")
    c = te.compute((floats,), lambda i: a[i] + tirx.const(0.5, "float32") * b[i], name="c")
    schedule = _schedule(a, b, c)
    (loop,) = schedule.get_loops(schedule.get_sblock("c"))
    # TVM gives each thread one range of a parallel loop.
    vectors, lane = schedule.split(loop, [None, lanes])
    schedule.parallel(vectors)
    schedule.vectorize(lane)
    return schedule


def _launch(threads: int) -> Schedule:
    """A parallel loop in which each thread writes one number."""
    from tvm import te, tirx

    marks = te.compute((threads,), lambda _: tirx.const(1, "float32"), name="marks")
    schedule = _schedule(marks)
    (loop,) = schedule.get_loops(schedule.get_sblock("marks"))
    schedule.parallel(loop)
    return schedule


def _schedule(*tensors: Any) -> Schedule:
    from tvm import te
    from tvm.s_tir import Schedule

    return Schedule(te.create_prim_func(list(tensors)))
