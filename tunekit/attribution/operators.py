"""From what was measured to an explanation: shares of the peaks, gains, counterparts, sums."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunekit.attribution.matching import Kernel, match
from tunekit.attribution.nodes import Node, kernel_text, kind_of_function
from tunekit.attribution.results import (
    Bound,
    Counterpart,
    Operator,
    Overhead,
    Peaks,
    Runtime,
    Sort,
    Unmatched,
)
from tunekit.library.manifest import TaskEntry


@dataclass(frozen=True)
class Measured:
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
class Account:
    """The parts of an explanation that follow from the measurements."""

    peaks: Peaks | None
    runtimes: tuple[Runtime, ...]
    operators: tuple[Operator, ...]
    unmatched: tuple[Unmatched, ...]


def account(
    library: Measured,
    others: Sequence[Measured],
    tasks: Sequence[TaskEntry],
    trials: Mapping[str, int],
    sort: Sort,
) -> Account:
    """Everything about the operators of a library.

    Args:
        library: its own turns.
        others: those of the runtimes that it is compared with.
        tasks: from its manifest.
        trials: measured of each workload, by structural hash.
        sort: what comes first: what has most to gain, what others do faster, what takes longest.
    """
    peaks = _peaks(library)
    kernels, seconds, best, moved = _kernels(library, tasks)
    by_name = {task.name: task for task in tasks}
    counterparts: dict[str, dict[str, Counterpart]] = defaultdict(dict)
    unmatched: list[Unmatched] = []
    runtimes = [_library_runtime(library, sum(seconds.values()))]
    for other in others:
        if not other.usable:
            runtimes.append(Runtime(name=other.name, status=other.status))
            continue
        nodes = _nodes(other)
        matching = match(kernels, nodes)
        for name, found in matching.counterparts.items():
            counterparts[name][other.name] = Counterpart(
                seconds=found.seconds, by=found.by, nodes=found.nodes, kernels=found.kernels
            )
        unmatched += [
            Unmatched(
                runtime=other.name,
                name=node.name,
                op=node.op,
                kind=node.kind,
                work=node.work,
                seconds=node.seconds,
            )
            for node in matching.unmatched
        ]
        runtimes.append(_other_runtime(other, sum(node.seconds for node in nodes)))
    operators = [
        _operator(
            kernel,
            by_name.get(kernel.name),
            seconds=seconds[kernel.name],
            best_s=best[kernel.name],
            total_s=sum(seconds.values()),
            moved=moved[kernel.name],
            trials=trials,
            peaks=peaks,
            others=counterparts[kernel.name],
        )
        for kernel in kernels
    ]
    return Account(
        peaks=peaks,
        runtimes=tuple(runtimes),
        operators=sorted_operators(operators, sort),
        unmatched=tuple(sorted(unmatched, key=lambda one: (-one.seconds, one.runtime, one.name))),
    )


def sorted_operators(operators: Sequence[Operator], sort: Sort) -> tuple[Operator, ...]:
    """The most rewarding first; what cannot be judged last, by its time."""

    def reward(one: Operator) -> float | None:
        return {"gain": one.gain_s, "difference": one.difference_s, "time": one.seconds}[sort]

    def order(one: Operator) -> tuple[bool, float, float, str]:
        value = reward(one)
        return (value is None, -(value or 0.0), -one.seconds, one.name)

    return tuple(sorted(operators, key=order))


def _kernels(
    library: Measured, tasks: Sequence[TaskEntry]
) -> tuple[list[Kernel], dict[str, float], dict[str, float], dict[str, int]]:
    """The kernels, and by their names: seconds, least seconds and bytes of a run."""
    operations = {task.name: task.operation for task in tasks}
    first = library.profiles[0]["calls"]
    seconds: dict[str, float] = defaultdict(float)
    best: dict[str, float] = defaultdict(float)
    moved: dict[str, int] = defaultdict(int)
    calls: dict[str, int] = defaultdict(int)
    elements: dict[str, int] = {}
    for position, call in enumerate(first):
        # TVM renames what computes with weights that were packed when compiling.
        name = str(call["function"]).removesuffix("_prepacked")
        turns = [profile["calls"][position] for profile in library.profiles]
        seconds[name] += statistics.median(turn["seconds"] for turn in turns)
        best[name] += min(turn["best_s"] for turn in turns)
        moved[name] += int(call["bytes"])
        calls[name] += 1
        elements[name] = int(call["elements"])
    kernels = []
    for name, count in calls.items():
        operation = operations.get(name)
        kernels.append(
            Kernel(
                name=name,
                kind=_kind(name, operation is not None and not operation.window),
                key=operation.key if operation else None,
                elements=elements[name],
                calls=count,
            )
        )
    return kernels, dict(seconds), dict(best), dict(moved)


def _kind(name: str, is_product: bool) -> Any:
    return "matrix product" if is_product else kind_of_function(name)


def _operator(
    kernel: Kernel,
    task: TaskEntry | None,
    *,
    seconds: float,
    best_s: float,
    total_s: float,
    moved: int,
    trials: Mapping[str, int],
    peaks: Peaks | None,
    others: dict[str, Counterpart],
) -> Operator:
    flops = task.flops * kernel.calls if task else None
    of_peak, bound, attainable_s = _against(peaks, flops or 0.0, moved, seconds)
    fastest_s = min((one.seconds for one in others.values()), default=None)
    return Operator(
        name=kernel.name,
        work=kernel_text(kernel.name, task.operation if task else None),
        kind=kernel.kind,
        calls=kernel.calls,
        seconds=seconds,
        best_s=best_s,
        share=seconds / total_s if total_s else 0.0,
        flops=flops,
        bytes=moved,
        flops_per_s=flops / seconds if flops is not None and seconds else None,
        bytes_per_s=moved / seconds if seconds else 0.0,
        of_peak=of_peak,
        bound=bound,
        gain_s=None if attainable_s is None else max(0.0, seconds - attainable_s),
        trials=trials.get(task.structural_hash, 0) if task else 0,
        space=task.space if task else "none",
        others=others,
        difference_s=None if fastest_s is None else seconds - fastest_s,
    )


def _against(
    peaks: Peaks | None, flops: float, moved: int, seconds: float
) -> tuple[float | None, Bound, float | None]:
    """Share of the peak, which peak, and the seconds at it."""
    if peaks is None or not seconds:
        return None, "unknown", None
    computing_s, moving_s = flops / peaks.flops_per_s, moved / peaks.bytes_per_s
    attainable_s = max(computing_s, moving_s)
    share = attainable_s / seconds
    if computing_s >= moving_s:
        return share, "compute", attainable_s
    return share, "memory" if share <= 1 else "cache", attainable_s


def _library_runtime(library: Measured, operators_s: float) -> Runtime:
    end_to_end_s = statistics.median(library.runs_s)
    builtins_s = statistics.median(profile["builtins_s"] for profile in library.profiles)
    return Runtime(
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


def _other_runtime(other: Measured, operators_s: float) -> Runtime:
    end_to_end_s = statistics.median(other.runs_s)
    rest = Overhead(name="session and the rest", seconds=end_to_end_s - operators_s)
    return Runtime(
        name=other.name,
        status="ok",
        end_to_end_s=end_to_end_s,
        operators_s=operators_s,
        overheads=(rest,),
        runs=len(other.runs_s),
    )


def _nodes(other: Measured) -> list[Node]:
    """The nodes of a runtime, each with the median of its turns."""
    turns = [
        {(node["name"], node["op"]): node for node in profile["nodes"]}
        for profile in other.profiles
    ]
    found = []
    for which, node in turns[-1].items():
        samples = [turn[which]["seconds"] for turn in turns if which in turn]
        found.append(Node(**{**node, "seconds": statistics.median(samples)}))
    return found


def _peaks(library: Measured) -> Peaks | None:
    measured = [peak for profile in library.profiles for peak in profile["peaks"]]
    if not measured:
        return None

    def median(name: str) -> float:
        return float(statistics.median(peak[name] for peak in measured))

    return Peaks(
        flops_per_s=median("flops_per_s"),
        bytes_per_s=median("bytes_per_s"),
        streamed_mib=int(measured[0]["streamed_mib"]),
        memory_bytes_per_s=median("memory_bytes_per_s"),
        launch_s=median("launch_s"),
        measured=len(measured),
    )
