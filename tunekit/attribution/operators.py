"""From what was measured to an explanation: shares of the peaks, gains, counterparts, sums."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunekit.attribution.matching import KernelWork, match
from tunekit.attribution.nodes import Node, kernel_text, kind_of_function
from tunekit.attribution.results import (
    Bound,
    CounterpartEntry,
    Operator,
    Overhead,
    PeaksEntry,
    RuntimeEntry,
    Sort,
    Unmatched,
)
from tunekit.graph.lowering.guards import SWITCHED
from tunekit.library.manifest import TaskEntry


def kernel_name(function: str) -> str:
    """The name of the kernel that a function of a library is.

    TVM renames what computes with weights that were packed when compiling, tunekit what may be
    skipped.
    """
    return function.removesuffix(SWITCHED).removesuffix("_prepacked")


@dataclass(frozen=True)
class Profiled:
    """What one runtime's turns gave.

    Attributes:
        name: of the runtime.
        status: "ok", or why it has no turns.
        runs_s: seconds of each run without a profiler.
        profiles: what its profiler gave in each turn.
    """

    name: str
    status: str
    runs_s: Sequence[float] = ()
    profiles: Sequence[Mapping[str, Any]] = ()

    @property
    def usable(self) -> bool:
        """Whether it has at least one turn."""
        return bool(self.runs_s and self.profiles)


@dataclass(frozen=True)
class Breakdown:
    """The parts of an explanation that follow from the measurements."""

    peaks: PeaksEntry | None
    runtimes: tuple[RuntimeEntry, ...]
    operators: tuple[Operator, ...]
    unmatched: tuple[Unmatched, ...]


@dataclass(frozen=True)
class _TimedKernel:
    """A kernel of the library, with what was measured of all its calls in a run.

    Attributes:
        kernel: what it computes.
        task: its entry in the manifest, where it has one.
        seconds: sum over its calls of the median of each.
        best_s: sum over its calls of the least of each.
        moved_bytes: of the arguments of all calls.
    """

    kernel: KernelWork
    task: TaskEntry | None
    seconds: float
    best_s: float
    moved_bytes: int


@dataclass(frozen=True)
class _Roof:
    """How near a kernel comes to the machine's peaks: its share of one, of which, the seconds at
    it; whether it moves all of its arguments."""

    of_peak: float | None = None
    bound: Bound = "unknown"
    attainable_s: float | None = None
    moves_all: bool = True


def break_down(
    library: Profiled,
    others: Sequence[Profiled],
    tasks: Sequence[TaskEntry],
    trials: Mapping[str, int],
    sort: Sort,
) -> Breakdown:
    """The time of a library by its operators, beside the machine's peaks and other runtimes.

    Args:
        library: its own turns.
        others: those of the runtimes that it is compared with.
        tasks: from its manifest.
        trials: measured of each workload, by structural hash.
        sort: what comes first: what has most to gain, what others do faster, what takes longest.
    """
    peaks = _peaks(library)
    kernels = _timed_kernels(library, tasks)
    total_s = sum(timed.seconds for timed in kernels)
    runtimes = [_library_runtime(library, total_s)]
    counterparts: dict[str, dict[str, CounterpartEntry]] = defaultdict(dict)
    unmatched: list[Unmatched] = []
    for other in others:
        if not other.usable:
            runtimes.append(RuntimeEntry(name=other.name, status=other.status))
            continue
        nodes = _nodes(other)
        runtimes.append(_other_runtime(other, sum(node.seconds for node in nodes)))
        matching = match([timed.kernel for timed in kernels], nodes)
        for name, counterpart in matching.counterparts.items():
            counterparts[name][other.name] = CounterpartEntry(**vars(counterpart))
        unmatched += [_unmatched(other.name, node) for node in matching.unmatched]
    operators = [
        _operator(timed, total_s, trials, _roof(timed, peaks), counterparts[timed.kernel.name])
        for timed in kernels
    ]
    return Breakdown(
        peaks=peaks,
        runtimes=tuple(runtimes),
        operators=sorted_operators(operators, sort),
        unmatched=tuple(
            sorted(unmatched, key=lambda node: (-node.seconds, node.runtime, node.name))
        ),
    )


def sorted_operators(operators: Sequence[Operator], sort: Sort) -> tuple[Operator, ...]:
    """The most rewarding first; what cannot be judged last, by its time."""

    def order(operator: Operator) -> tuple[bool, float, float, str]:
        rewards = {
            "gain": operator.gain_s,
            "difference": operator.difference_s,
            "time": operator.seconds,
        }
        reward = rewards[sort]
        return (reward is None, -(reward or 0.0), -operator.seconds, operator.name)

    return tuple(sorted(operators, key=order))


def _timed_kernels(library: Profiled, tasks: Sequence[TaskEntry]) -> list[_TimedKernel]:
    """The kernels in the order of their first calls."""
    entries = {task.name: task for task in tasks}
    positions: dict[str, list[int]] = defaultdict(list)
    calls = library.profiles[0]["calls"]
    for position, call in enumerate(calls):
        if call.get("skipped"):
            continue
        positions[kernel_name(str(call["function"]))].append(position)

    def measured(position: int, key: str) -> list[float]:
        return [profile["calls"][position][key] for profile in library.profiles]

    return [
        _TimedKernel(
            kernel=_kernel(name, entries.get(name), [calls[position] for position in own]),
            task=entries.get(name),
            seconds=sum(statistics.median(measured(position, "seconds")) for position in own),
            best_s=sum(min(measured(position, "best_s")) for position in own),
            moved_bytes=sum(int(calls[position]["bytes"]) for position in own),
        )
        for name, own in positions.items()
    ]


def _kernel(name: str, task: TaskEntry | None, calls: Sequence[Mapping[str, Any]]) -> KernelWork:
    operation = task.operation if task else None
    is_product = operation is not None and not operation.window
    return KernelWork(
        name=name,
        kind="matrix product" if is_product else kind_of_function(name),
        key=operation.key if operation else None,
        elements=int(calls[-1]["elements"]),
        calls=len(calls),
    )


def _operator(
    timed: _TimedKernel,
    total_s: float,
    trials: Mapping[str, int],
    roof: _Roof,
    others: dict[str, CounterpartEntry],
) -> Operator:
    kernel, task, seconds = timed.kernel, timed.task, timed.seconds
    flops = _flops(timed)
    fastest_s = min((counterpart.seconds for counterpart in others.values()), default=None)
    return Operator(
        name=kernel.name,
        work=kernel_text(kernel.name, task.operation if task else None),
        kind=kernel.kind,
        calls=kernel.calls,
        seconds=seconds,
        best_s=timed.best_s,
        share=seconds / total_s if total_s else 0.0,
        flops=flops,
        bytes=timed.moved_bytes,
        flops_per_s=flops / seconds if flops is not None and seconds else None,
        bytes_per_s=timed.moved_bytes / seconds if seconds and roof.moves_all else None,
        of_peak=roof.of_peak,
        bound=roof.bound,
        gain_s=None if roof.attainable_s is None else max(0.0, seconds - roof.attainable_s),
        trials=trials.get(task.structural_hash, 0) if task else 0,
        space=task.space if task else "none",
        others=others,
        difference_s=None if fastest_s is None else seconds - fastest_s,
    )


def _flops(timed: _TimedKernel) -> float | None:
    return timed.task.flops * timed.kernel.calls if timed.task else None


def _roof(timed: _TimedKernel, peaks: PeaksEntry | None) -> _Roof:
    if peaks is None or not timed.seconds:
        return _Roof()
    computing_s = (_flops(timed) or 0.0) / peaks.flops_per_s
    moving_s = timed.moved_bytes / peaks.bytes_per_s
    attainable_s = max(computing_s, moving_s)
    share = attainable_s / timed.seconds
    if timed.task is None and share > 1:
        # A kernel in C ends where its data ends: it took less time than its arguments' bytes take.
        return _Roof(moves_all=False)
    if computing_s >= moving_s:
        return _Roof(share, "compute", attainable_s)
    return _Roof(share, "memory" if share <= 1 else "cache", attainable_s)


def _unmatched(runtime: str, node: Node) -> Unmatched:
    return Unmatched(
        runtime=runtime,
        name=node.name,
        op=node.op,
        kind=node.kind,
        work=node.work,
        seconds=node.seconds,
    )


def _library_runtime(library: Profiled, operators_s: float) -> RuntimeEntry:
    end_to_end_s = statistics.median(library.runs_s)
    builtins_s = statistics.median(profile["builtins_s"] for profile in library.profiles)
    return RuntimeEntry(
        name=library.name,
        status="ok",
        end_to_end_s=end_to_end_s,
        operators_s=operators_s,
        overheads=(
            Overhead(name="memory, views and checks", seconds=builtins_s),
            Overhead(
                name="virtual machine and the rest", seconds=end_to_end_s - operators_s - builtins_s
            ),
        ),
        runs=len(library.runs_s),
    )


def _other_runtime(other: Profiled, operators_s: float) -> RuntimeEntry:
    end_to_end_s = statistics.median(other.runs_s)
    rest = Overhead(name="session and the rest", seconds=end_to_end_s - operators_s)
    return RuntimeEntry(
        name=other.name,
        status="ok",
        end_to_end_s=end_to_end_s,
        operators_s=operators_s,
        overheads=(rest,),
        runs=len(other.runs_s),
    )


def _nodes(other: Profiled) -> list[Node]:
    """The nodes of a runtime, each with the median of its turns."""
    turns = [
        {(node["name"], node["op"]): node for node in profile["nodes"]}
        for profile in other.profiles
    ]
    nodes = []
    for which, node in turns[-1].items():
        samples = [turn[which]["seconds"] for turn in turns if which in turn]
        nodes.append(Node(**{**node, "seconds": statistics.median(samples)}))
    return nodes


def _peaks(library: Profiled) -> PeaksEntry | None:
    measured = [peak for profile in library.profiles for peak in profile["peaks"]]
    if not measured:
        return None

    def median(name: str) -> float:
        return float(statistics.median(peak[name] for peak in measured))

    return PeaksEntry(
        flops_per_s=median("flops_per_s"),
        bytes_per_s=median("bytes_per_s"),
        streamed_mib=int(measured[0]["streamed_mib"]),
        memory_bytes_per_s=median("memory_bytes_per_s"),
        launch_s=median("launch_s"),
        measured=len(measured),
    )
