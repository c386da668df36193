"""The tuned library, timed call by call where it runs: in the order, with the caches, as it is."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunekit.attribution.roofline import Peaks, Roofline
from tunekit.graph.lowering.guards import SWITCHED
from tunekit.library.huge_page_pass import ADVISE
from tunekit.runtimes.relax_vm import RelaxLibrary

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_LEAST_RUNS, _MOST_RUNS = 3, 2000
# Functions of the virtual machine's own: memory, views, checks of arguments.
_BUILTIN = "vm."
_NOTHING = "vm.builtin.null_value"


class ProfiledLibrary(RelaxLibrary):
    """The library for TVM's virtual machine: a second one on it tells before and after each call.

    The first one, without it, is what end to end is measured on. The instrument costs a
    microsecond or more: what it says a function takes that does nothing, is taken from each call.
    """

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        settings = super().load(plan, inputs, threads)
        import tvm
        from tvm.runtime.vm import VirtualMachine

        self._machine = VirtualMachine(tvm.runtime.load_module(plan["file"]), self._device)
        self._profiled_main = self._machine["main"]
        self._calls = self._describe()
        touched = sum(call["bytes"] for call in self._calls if not _is_builtin(call))
        self._roofline = Roofline(plan["roofline"], touched) if plan.get("roofline") else None
        return settings

    def profile(self, seconds: float) -> dict[str, Any]:
        """Seconds of each kernel call of a run, in order, and the machine's peaks around that."""
        peaks = [self._peaks()]
        stamps: list[int] = []
        clock, synchronize = time.perf_counter_ns, self._device.sync if self._wait else None

        def instrument(_function: Any, _symbol: str, before: bool, *_: Any) -> int:
            if synchronize is not None:
                synchronize()
            stamps.append(clock() if before else -clock())
            return 0

        runs: list[list[int]] = []
        self._instrumented(instrument)
        self._profiled_main(*self._inputs)
        start = time.perf_counter()
        while len(runs) < _MOST_RUNS:
            stamps.clear()
            self._profiled_main(*self._inputs)
            runs.append(_durations_ns(stamps))
            if len(runs) >= _LEAST_RUNS and time.perf_counter() - start >= seconds:
                break
        peaks.append(self._peaks())
        if any(len(run) != len(self._calls) for run in runs):
            raise RuntimeError("the library does not make the same calls in each run")
        samples = list(zip(*runs, strict=True))
        nothing = [
            statistics.median(sample)
            for call, sample in zip(self._calls, samples, strict=True)
            if call["function"] == _NOTHING
        ]
        own_ns = statistics.median(nothing) if nothing else 0.0
        calls = []
        builtins_s = 0.0
        for call, sample in zip(self._calls, samples, strict=True):
            median_s = max(0.0, statistics.median(sample) - own_ns) / 1e9
            best_s = max(0.0, min(sample) - own_ns) / 1e9
            if _is_builtin(call):
                builtins_s += median_s
            else:
                calls.append({**call, "seconds": median_s, "best_s": best_s})
        return {
            "calls": calls,
            "builtins_s": builtins_s,
            "runs": len(runs),
            "peaks": [dataclasses.asdict(peak) for peak in peaks if peak is not None],
        }

    def _describe(self) -> list[dict[str, Any]]:
        """Each call of a run: the function, what its tensors weigh, its output's shape, and whether
        it had nothing to do."""
        order: list[tuple[str, list[Any], bool]] = []
        open_calls: list[tuple[str, list[Any], int]] = []

        def instrument(_function: Any, symbol: str, before: bool, _result: Any, *args: Any) -> int:
            if before:
                tensors = [
                    (tuple(arg.shape), str(arg.dtype))
                    for arg in args
                    if hasattr(arg, "shape") and hasattr(arg, "dtype")
                ]
                open_calls.append((str(symbol), tensors, len(order)))
            else:
                name, tensors, inner = open_calls.pop()
                if len(order) == inner:  # it called nothing that counts by itself
                    order.append((name, tensors, _is_skipped(name, args)))
            return 0

        self._instrumented(instrument)
        self._profiled_main(*self._inputs)
        return [
            {
                "function": name,
                "shape": list(tensors[-1][0]) if tensors else [],
                "elements": math.prod(tensors[-1][0]) if tensors else 0,
                "bytes": sum(_bytes(*tensor) for tensor in tensors),
                "skipped": skipped,
            }
            for name, tensors, skipped in order
        ]

    def _instrumented(self, instrument: Any) -> None:
        import tvm_ffi

        self._machine.set_instrument(tvm_ffi.convert(instrument))

    def _peaks(self) -> Peaks | None:
        return self._roofline.measure() if self._roofline is not None else None


def _is_skipped(name: str, arguments: Sequence[Any]) -> bool:
    """Whether a kernel did nothing: its switch, behind its inputs, is zero."""
    if not name.endswith(SWITCHED):
        return False
    *_, switch, _ = arguments
    return str(switch.dtype) == "int32" and not switch.numpy().any()


def _is_builtin(call: Mapping[str, Any]) -> bool:
    function = str(call["function"])
    return function.startswith(_BUILTIN) or function == ADVISE


def _durations_ns(stamps: list[int]) -> list[int]:
    """Nanoseconds of each innermost call, from stamps that are negative where a call ended."""
    durations = []
    for start, end in itertools.pairwise(stamps):
        if start > 0 and end < 0:
            durations.append(-end - start)
    return durations


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    import numpy as np

    return math.prod(shape) * int(np.dtype(dtype).itemsize)
