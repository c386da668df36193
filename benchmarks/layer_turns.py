"""Models of one layer with default schedules, which take turns; what several benchmarks share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunekit.graph.lowering.build import compile_model
from tunekit.graph.prepare import prepare
from tunekit.graph.tasks import extract_tasks
from tunekit.library.apply import apply_records

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tunekit.graph.implementation import Choice
    from tunekit.machine.target import ResolvedTarget


def runner(
    module: IRModule,
    shape: tuple[int, ...],
    layout: Any,
    target: ResolvedTarget,
    choice: Choice | None = None,
) -> Callable[[], object]:
    """Runs a module in a layout, with these algorithms or the direct ones, on one random float32
    input of this shape."""
    import tvm
    from tvm import relax

    graph = prepare(module, target, layout, choice=choice)
    applied = apply_records(graph, extract_tasks(graph, target), [], target)
    machine = relax.VirtualMachine(compile_model(applied.module, target.tvm), tvm.cpu())
    data = tvm.runtime.tensor(np.random.default_rng(0).standard_normal(shape, "float32"))
    return lambda: machine["main"](data)


def medians(runners: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each, which all run once in each round."""
    seconds: list[list[float]] = [[] for _ in runners]
    for _ in range(rounds):
        for run, own in zip(runners, seconds, strict=True):
            started = time.perf_counter()
            run()
            own.append(time.perf_counter() - started)
    return [statistics.median(own) for own in seconds]
