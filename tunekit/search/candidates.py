"""Schedules as the candidates that a measurer takes.

Spaces make schedules and measurers measure text; only the search knows of both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tunekit.graph.tasks import constant_arguments
from tunekit.ir.trace import load_trace
from tunekit.measure.measurer import Candidate, TensorArgument

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tunekit.catalogue import Record


def candidate_of(
    key: int,
    module: IRModule,
    workload: IRModule,
    slow_s: float,
    *,
    workload_json: str,
    best_s: float | None = None,
) -> Candidate:
    """A scheduled module as a candidate.

    Args:
        key: see `Candidate`, as of all that is not named here.
        module: the scheduled module.
        workload: the unscheduled module.
        slow_s: see `Candidate`.
        workload_json: `workload` by `tvm.ir.save_json`.
        best_s: see `Candidate`.
    """
    import tvm

    return Candidate(
        key,
        tvm.ir.save_json(module),
        # Of the schedule, not of the workload: it may have changed the layout of weights.
        _arguments(module, remove_preproc=True),
        slow_s,
        best_s=best_s,
        workload_json=workload_json,
        workload_arguments=_arguments(workload, remove_preproc=False),
        constants=constant_arguments(workload),
    )


def candidate_of_record(key: int, record: Record) -> Candidate:
    """The candidate that a record is of, replayed; however slow it is, it is timed in full."""
    import tvm
    from tvm.s_tir import Schedule

    workload = tvm.ir.load_json(record.module_json)
    schedule = Schedule(workload)
    load_trace(record.trace_json).apply_to_schedule(schedule, remove_postproc=False)
    return candidate_of(key, schedule.mod, workload, math.inf, workload_json=record.module_json)


def _arguments(module: IRModule, *, remove_preproc: bool) -> tuple[TensorArgument, ...]:
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    return tuple(
        TensorArgument(tuple(int(extent) for extent in info.shape), str(info.dtype))
        for info in ArgInfo.from_entry_func(module, remove_preproc)
    )
