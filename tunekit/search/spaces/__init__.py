"""Search spaces: which schedules of a workload are worth trying.

A space is chosen by what a workload computes, never by its name. What no family fits goes to
MetaSchedule's generic space, so nothing becomes untunable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.search.metaschedule import generic_space
from tunekit.search.spaces.register_tile import find_anchor, fits, register_tile_space
from tunekit.search.spaces.winograd import find_winograd, winograd_fits, winograd_space

if TYPE_CHECKING:
    from tvm.s_tir.meta_schedule.space_generator import SpaceGenerator

    from tunekit.graph.tasks import Task
    from tunekit.target import ResolvedTarget


def space_for(task: Task, target: ResolvedTarget) -> SpaceGenerator:
    """The space that a task's candidates come from."""
    if target.kind == "llvm":
        winograd = find_winograd(task.module)
        if winograd is not None and winograd_fits(task.module, winograd, target):
            return winograd_space(winograd, target)
        anchor = find_anchor(task.module)
        if anchor is not None and fits(task.module, anchor, target):
            return register_tile_space(anchor, target)
    return generic_space(target)
