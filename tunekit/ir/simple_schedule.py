"""One schedule for everything, many times as fast as TVM's default loops.

Reductions are moved outside of the innermost spatial loop, which LLVM then vectorizes, and the
outer loops run in parallel. Nothing is measured, and a kernel that refuses keeps its default loops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.ir.tir import Block, blocks_of

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import SBlockRV


def schedule_kernel(module: IRModule) -> IRModule:
    """A kernel, `main`, with each of its blocks scheduled by `schedule_block`; as it was where it
    refuses."""
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ScheduleError

    schedule = Schedule(module)
    try:
        for block in blocks_of(schedule):
            schedule_block(schedule, block)
    except (ScheduleError, RuntimeError, ValueError, TypeError):
        return module
    return schedule.mod


def schedule_block(schedule: Schedule, block: SBlockRV) -> None:
    """Reductions outside of the innermost spatial loop, the outer spatial loops in parallel."""
    loops = schedule.get_loops(block)
    read = Block.of(schedule.get(block))
    if 0 in [axis.extent for axis in read.axes if axis.role == "reduced"]:
        # What a reduction begins with is set where it begins: never, where it is over nothing.
        schedule.decompose_reduction(block, loops[0])
        return
    if not loops or len(loops) != len(read.axes):
        return
    spatial, reductions = read.divide(loops)
    if not spatial or len(spatial) + len(reductions) != len(loops):
        return
    *outer, inner = spatial
    if reductions:
        schedule.reorder(*outer, *reductions, inner)
    if outer:
        schedule.parallel(schedule.fuse(*outer))
    elif not reductions:
        schedule.parallel(inner)
