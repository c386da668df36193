"""What a kernel gets before anything was measured: a schedule that is decent by arithmetic.

A space's samplers list their values best expected first, so its default is the first of each. A
kernel without a space of its own gets what suits nearly all that are left, which move memory
rather than compute: chains inlined, the outer loops parallel among the threads, the innermost
spatial loop left to LLVM's vectorizer with reductions outside of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.ir.simple_schedule import schedule_block
from tunekit.ir.tir import Block, blocks_of
from tunekit.spaces.inlining import TooMuchInlinedError, inline
from tunekit.spaces.registry import first_design
from tunekit.spaces.sampling import first_choices

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule

    from tunekit.machine.target import ResolvedTarget


def default_schedule(module: IRModule, target: ResolvedTarget) -> Schedule | None:
    """A schedule of a workload's `main`, the same every time; None where none is known.

    Args:
        module: the workload.
        target: what it is for; only LLVM targets have defaults.
    """
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ScheduleError

    if target.kind != "llvm":
        return None
    with first_choices():
        first = first_design(module, target)
    if first is not None:
        return first
    schedule = Schedule(module)
    try:
        _simple(schedule)
    except (ScheduleError, RuntimeError, ValueError, TypeError):
        return None
    return schedule


def _simple(schedule: Schedule) -> None:
    from tvm.s_tir.schedule import ScheduleError

    for block in blocks_of(schedule):
        if Block.of(schedule.get(block)).reduces or not schedule.get_consumers(block):
            continue
        try:
            inline(schedule, block)
        except (TooMuchInlinedError, ScheduleError):
            continue
    for block in blocks_of(schedule):
        schedule_block(schedule, block)
