"""Records onto kernels: which apply, and what share of the latency they cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.library.coverage import assess
from tunekit.spaces import space_name
from tunekit.spaces.default_schedule import default_schedule
from tunekit.spaces.metaschedule import add_schedule, memory_database

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tunekit.catalogue import Record
    from tunekit.graph.prepare import PreparedGraph
    from tunekit.graph.task import Task
    from tunekit.machine.target import ResolvedTarget


@dataclass(frozen=True)
class Applied:
    """A graph with its records applied.

    Attributes:
        module: ready to be built, constants repacked as the schedules want them.
        records: the record of each task that has one, by structural hash.
        coverage: share of the estimated latency that the records cover, 0 to 1.
        latency_s: estimated seconds of one run, of the covered kernels.
        scheduled: names of the functions that have a schedule, by a record or by default.
    """

    module: IRModule
    records: Mapping[str, Record]
    coverage: float
    latency_s: float | None
    scheduled: frozenset[str] = frozenset()


def apply_records(
    graph: PreparedGraph,
    tasks: Sequence[Task],
    records: Sequence[Record],
    target: ResolvedTarget,
) -> Applied:
    """Schedules each kernel: by its record, or by the default schedule where it has none.

    A kernel counts as covered only if MetaSchedule did schedule it, not because a record with its
    hash was found.
    """
    from tvm import relax, transform

    by_hash = {record.structural_hash: record for record in records}
    database = memory_database(records, target)
    defaults = [task for task in tasks if task.structural_hash not in by_hash]
    for task in defaults:
        schedule = default_schedule(task.module, target)
        if schedule is not None:
            add_schedule(database, task.module, schedule.trace, target)
    with target.tvm:
        with database:
            scheduled = relax.transform.MetaScheduleApplyDatabase()(graph.module)
        module = transform.Sequential(
            [
                # The schedules' wishes for the layout of constants, carried out now.
                relax.transform.SplitLayoutRewritePreproc(),
                relax.transform.LiftTransformParams(),
                relax.transform.FoldConstant(),
            ]
        )(scheduled)
    names = _scheduled_functions(scheduled)
    applied = {
        task.structural_hash: by_hash[task.structural_hash]
        for task in tasks
        if task.structural_hash in by_hash and task.name in names
    }
    known = assess(tasks, applied)
    return Applied(
        module=module,
        records=applied,
        scheduled=names,
        coverage=known.coverage,
        latency_s=known.latency_s,
    )


def space_used(task: Task, applied: Applied, target: ResolvedTarget) -> str:
    """The space that a task's schedule comes from: "default" without a record, "none" without."""
    if task.structural_hash in applied.records:
        return space_name(task, target)
    return "default" if task.name in applied.scheduled else "none"


def coverage_line(applied: Applied, kernels: int) -> str:
    """One line on how much of the model the records cover."""
    line = (
        f"coverage: {applied.coverage:.1%} of the estimated latency, "
        f"{len(applied.records)} of {kernels} kernels have an applied record"
    )
    return line if applied.records else f"{line}; the others have default schedules"


def _scheduled_functions(module: IRModule) -> frozenset[str]:
    from tvm.tirx import PrimFunc

    return frozenset(
        variable.name_hint
        for variable, function in module.functions_items()
        if isinstance(function, PrimFunc)
        and function.attrs is not None
        and bool(function.attrs.get("tirx.is_scheduled", False))
    )
