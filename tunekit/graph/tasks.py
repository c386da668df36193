"""Tasks: the distinct kernels of a prepared graph, each with the number of times it runs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tunekit.extern_kernels.function import kernel_of
from tunekit.graph.implementation import implementation_of, is_direct
from tunekit.graph.switches import find_switches
from tunekit.graph.task import Task
from tunekit.ir.tir import constant_extents

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tunekit.graph.prepare import PreparedGraph
    from tunekit.machine.target import ResolvedTarget


def extract_tasks(graph: PreparedGraph, target: ResolvedTarget) -> list[Task]:
    """The tasks of a graph, heaviest in arithmetic first.

    Functions that MetaSchedule's database already regards as one (structurally equal) are one
    task with the sum of their calls, as far as a run is expected to make them. Reshapes are left
    out: the compiler turns them into views, which a schedule would turn back into copies. So are
    kernels of open size, which cannot be measured: they keep TVM's own loops; and kernels in C.
    """
    import tvm_ffi
    from tvm.s_tir.analysis import estimate_tir_flops
    from tvm.s_tir.meta_schedule.relax_integration import extract_tasks as extract

    tasks = []
    unlikely = _unlikely_calls(graph.module)
    for extracted in extract(graph.module, target.tvm):
        module = extracted.dispatched[0]
        if kernel_of(module["main"]) or _is_reshape(module) or not _has_fixed_sizes(module):
            continue
        structural_hash = str(tvm_ffi.structural_hash(module))
        tasks.append(
            Task(
                name=str(extracted.task_name),
                module=module,
                structural_hash=structural_hash,
                weight=max(round(int(extracted.weight) - unlikely.get(structural_hash, 0)), 1),
                flops=float(estimate_tir_flops(module)),
                bytes=_argument_bytes(module),
                implementation=implementation_of(module),
            )
        )
    return heaviest_first(tasks)


def _unlikely_calls(module: IRModule) -> dict[str, float]:
    """By the structural hash of a task, how many of its calls a run is expected not to make."""
    import tvm_ffi
    from tvm.s_tir.meta_schedule.tune_context import _normalize_mod

    unlikely: dict[str, float] = defaultdict(float)
    for name, calls in find_switches(module).unlikely_calls(module).items():
        unlikely[str(tvm_ffi.structural_hash(_normalize_mod(module[name])))] += calls
    return unlikely


def heaviest_first(tasks: Iterable[Task]) -> list[Task]:
    """The tasks in the order of their arithmetic, the same each time."""
    return sorted(tasks, key=lambda task: (-task.flops * task.weight, task.name))


def _is_reshape(module: IRModule) -> bool:
    from tvm.relax.analysis import has_reshape_pattern

    return bool(has_reshape_pattern(module["main"]))


def _has_fixed_sizes(module: IRModule) -> bool:
    function = module["main"]
    return all(
        hasattr(parameter.ty, "shape") and constant_extents(parameter.ty.shape) is not None
        for parameter in function.params
    )


def constant_arguments(module: IRModule) -> tuple[int, ...]:
    """Positions of the arguments of a workload's `main` that are constants of the model: what
    `AttachAttrLayoutFreeBuffers` marked when the graph was prepared."""
    attributes = module["main"].attrs
    marked = attributes.get("layout_free_buffers") if attributes else None
    return tuple(int(position) for position in marked or ())


def constant_bytes(tasks: Iterable[Task]) -> int:
    """Size of the constants that one run of a model reads, with every convolution computed
    directly."""
    total = 0
    for task in tasks:
        if is_direct(task.implementation):
            sizes = _argument_sizes(task.module)
            total += task.weight * sum(sizes[index] for index in constant_arguments(task.module))
    return total


def _argument_bytes(module: IRModule) -> int:
    return sum(_argument_sizes(module))


def _argument_sizes(module: IRModule) -> list[int]:
    """Bytes of each argument of `main`."""
    import numpy as np
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    return [
        math.prod(int(extent) for extent in info.shape) * np.dtype(str(info.dtype)).itemsize
        for info in ArgInfo.from_entry_func(module, False)
    ]
