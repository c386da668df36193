"""Search spaces: which schedules of a workload are worth trying.

A space is chosen by what a workload computes, never by its name. What no family fits goes to
MetaSchedule's generic space, so nothing becomes untunable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.spaces.metaschedule import generic_space
from tunekit.spaces.registry import family_space, find_family

if TYPE_CHECKING:
    from tvm.s_tir.meta_schedule.space_generator import SpaceGenerator

    from tunekit.graph.tasks import Task
    from tunekit.machine.target import ResolvedTarget


def space_for(task: Task, target: ResolvedTarget) -> SpaceGenerator:
    """The space that a task's candidates come from."""
    return _named_space(task, target)[1]


def space_name(task: Task, target: ResolvedTarget) -> str:
    """What that space is called in reports."""
    return _named_space(task, target)[0]


def _named_space(task: Task, target: ResolvedTarget) -> tuple[str, SpaceGenerator]:
    if target.kind == "llvm":
        family = find_family(task.module, target)
        if family is not None:
            name, designs = family
            return name, family_space(designs)
    return "generic", generic_space(target)
