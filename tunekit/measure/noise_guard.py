"""The noise guard: what is known of a candidate's speed when the host's own speed is not constant.

Other processes take the cores in slices of milliseconds, the hypervisor takes them or lowers their
clock for seconds. Against the first helps to take many short samples and to believe the fastest of
them: noise only ever adds time. Against the second helps a calibration kernel, timed just before
and just after the samples: where it is slower than at the best of times, the candidate is measured
again, at once and when the rest of the batch has had its turn, and the readings of the quietest
moments count.

How much each of these is worth is measured by `benchmarks/noise_guard.py`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.ir import IRModule

# Of the samples, those that count as undisturbed.
_QUIET_SHARE = 0.2
# Vector accumulators of the calibration kernel, enough to hide the latency of additions and few
# enough for 16 registers; floats in each, chained multiply-adds, floats streamed by each thread.
_ACCUMULATORS = 8
_LANES = 8
_STEPS = 100_000
_STREAM_FLOATS = 1 << 19
# Below this ratio a slow host cannot be told from the calibration's own scatter.
_DISCERNIBLE = 1.1
# Slower than its usual self by this, a host is waited for.
_SLOW_HOST = 1.25
# Of the host's slowness beyond what is discernible, as a power, what candidates have been seen to
# share on the whole: those that wait for memory less than those that compute.
_SHARED_SLOWNESS = 0.75
# Runs of the calibration kernel in front of the samples, and as many behind; about 0.4 ms each.
_RUNS = 6
# Host levels remembered, and the share of them that is taken for its usual self.
_REMEMBERED = 512
_USUAL_SHARE = 0.1


def quiet_level(samples: Sequence[float]) -> float:
    """The mean of the fastest fifth of the samples, at least of one: what was least disturbed."""
    count = max(1, int(len(samples) * _QUIET_SHARE))
    return math.fsum(sorted(samples)[:count]) / count


@dataclass(frozen=True)
class Reading:
    """One measurement: raw seconds of each sample, and of the calibration beside them.

    Attributes:
        samples: seconds of each, in the order taken.
        calibration_s: the calibration kernel's quiet level meanwhile, None without the guard.
    """

    samples: tuple[float, ...]
    calibration_s: float | None = None

    def level(self, usual_s: float | None) -> float:
        """How many times slower than usual the host was; 1 where that cannot be told from 1."""
        if self.calibration_s is None or not usual_s:
            return 1.0
        ratio = self.calibration_s / usual_s
        return ratio if ratio > _DISCERNIBLE else 1.0


def undisturbed_seconds(readings: Sequence[Reading], usual_s: float | None) -> float:
    """What a candidate takes on this host, by its least disturbed readings; seconds.

    The calibration says which readings to believe. Only where all of them were taken on a slow host
    are seconds corrected by it, and by less than in proportion: other processes slow memory down
    more than arithmetic, and candidates are not made of the two in the calibration's proportion.
    Uncorrected, a good candidate that met a slow host would never be looked at again; one that is
    made too much of is found out in the final.

    Args:
        readings: at least one.
        usual_s: the calibration kernel's usual seconds.
    """
    least = min(reading.level(usual_s) for reading in readings)
    seconds = min(
        quiet_level(reading.samples)
        for reading in readings
        if reading.level(usual_s) <= _DISCERNIBLE * least
    )
    if least > _SLOW_HOST:
        seconds /= (least / _DISCERNIBLE) ** _SHARED_SLOWNESS
    return seconds


def disturbed(readings: Sequence[Reading], usual_s: float | None) -> bool:
    """Whether the host was slow in all of the readings, so that another one is worth its time.

    Args:
        readings: at least one.
        usual_s: the calibration kernel's usual seconds.
    """
    return min(reading.level(usual_s) for reading in readings) > _SLOW_HOST


class UsualSpeed:
    """The host's usual speed by the calibrations seen so far.

    The usual speed is a low quantile and not the minimum: processors run faster for moments.
    """

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, calibration_s: float) -> None:
        """Takes one more calibration into account; seconds."""
        self._seen.append(calibration_s)

    @property
    def seconds(self) -> float | None:
        """The calibration kernel's usual seconds, None before the first calibration."""
        if not self._seen:
            return None
        count = max(1, int(len(self._seen) * _USUAL_SHARE))
        return sorted(self._seen)[count // 2]


class Calibration:
    """The calibration kernel: on every thread chained multiply-adds, then a stream from memory.

    Built before the process forks, run in the children: running it starts TVM's threads.
    """

    def __init__(self, target: str, threads: int) -> None:
        import json

        import numpy as np
        import tvm

        self._device = tvm.cpu()
        self._library = tvm.tirx.build(
            calibration_module(threads), tvm.target.Target(json.loads(target))
        )
        self._library["main"]
        stream = tvm.runtime.tensor(np.full(stream_floats(threads), 0.5, "float32"), self._device)
        self._arguments = calibration_arguments(stream, threads, self._device)

    def time(self) -> list[float]:
        """Seconds of a few runs."""
        return time_calibration(self._library, self._device, self._arguments)


def stream_floats(threads: int) -> int:
    """How many floats the kernel streams from memory."""
    return threads * _STREAM_FLOATS


def calibration_arguments(stream: Any, threads: int, device: Any) -> list[Any]:
    """What the kernel takes: the stream, float32, filled with whatever adds up to something
    finite, and small tensors."""
    import numpy as np
    import tvm

    factor = np.full(_LANES, 0.5, "float32")
    result = np.zeros(threads * _ACCUMULATORS * _LANES, "float32")
    return [tvm.runtime.tensor(factor, device), stream, tvm.runtime.tensor(result, device)]


def time_calibration(library: Any, device: Any, arguments: Sequence[Any]) -> list[float]:
    """Seconds of a few runs of the kernel."""
    evaluator = library.time_evaluator("main", device, number=1, repeat=_RUNS)
    return [float(seconds) for seconds in evaluator(*arguments).results]


def calibration_module(threads: int) -> IRModule:
    """The kernel's TIR: half of its time goes into arithmetic, half into memory."""
    import tvm
    from tvm.script import tirx as T

    n, lanes, steps, floats = _ACCUMULATORS, _LANES, _STEPS, _STREAM_FLOATS
    accumulated = n * lanes

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def main(  # type: ignore[no-untyped-def]
        factor: T.Buffer((lanes,), "float32"),  # type: ignore[valid-type]
        stream: T.Buffer((threads * floats,), "float32"),  # type: ignore[valid-type]
        result: T.Buffer((threads * accumulated,), "float32"),  # type: ignore[valid-type]
    ):
        T.func_attr({"global_symbol": "main", "tirx.noalias": True})
        for thread in T.parallel(threads):
            with T.sblock("calibration"):
                part = T.axis.spatial(threads, thread)
                total = T.sblock_alloc_buffer((accumulated,), "float32")
                for j in T.unroll(n):
                    for lane in T.vectorized(lanes):
                        total[j * lanes + lane] = factor[lane]
                for _step in range(steps):
                    for j in T.unroll(n):
                        for lane in T.vectorized(lanes):
                            total[j * lanes + lane] = (
                                total[j * lanes + lane] * factor[lane] + factor[lane]
                            )
                for i in range(floats // accumulated):
                    for j in T.unroll(n):
                        for lane in T.vectorized(lanes):
                            total[j * lanes + lane] = (
                                total[j * lanes + lane]
                                + stream[part * floats + (i * n + j) * lanes + lane]
                            )
                for j in T.unroll(n):
                    for lane in T.vectorized(lanes):
                        result[(part * n + j) * lanes + lane] = total[j * lanes + lane]

    return tvm.IRModule({"main": main})
