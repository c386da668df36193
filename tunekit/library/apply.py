"""Records onto kernels: which apply, and what share of the latency they cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.catalogue import Catalogue, toolchain_key
from tunekit.search.metaschedule import memory_database
from tunekit.toolchain import versions

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tunekit.catalogue import Record
    from tunekit.graph.prepare import PreparedGraph
    from tunekit.graph.tasks import Task
    from tunekit.target import ResolvedTarget

# What a kernel without a record is reckoned to reach: naive loops, one thread, seen on x86-64.
_NAIVE_FLOPS_PER_S = 2e9
_NAIVE_BYTES_PER_S = 1e9
# Of a workload's records, as many as are looked through for one that overtook the last winner.
_CHALLENGERS = 16


@dataclass(frozen=True)
class Applied:
    """A graph with its records applied.

    Attributes:
        module: ready to be built, constants repacked as the schedules want them.
        records: the record of each task that has one, by structural hash.
        coverage: share of the estimated latency that the records cover, 0 to 1.
        latency_s: estimated seconds of one run, of the covered kernels.
    """

    module: IRModule
    records: Mapping[str, Record]
    coverage: float
    latency_s: float | None


def best_records(
    catalogue: Catalogue, tasks: Sequence[Task], target: ResolvedTarget, host_fingerprint: str
) -> list[Record]:
    """The fastest record of each task on this target and host, by a compatible toolchain.

    That is the winner of the latest final, unless a trial measured since then was faster still.
    """
    hashes = [task.structural_hash for task in tasks]
    key = toolchain_key(versions())
    winners = {
        winner.structural_hash: winner
        for winner in catalogue.winners(
            structural_hashes=hashes,
            target_json=target.spec,
            host_fingerprint=host_fingerprint,
            toolchain_key=key,
        )
    }
    chosen: dict[str, Record] = {}
    for record in catalogue.records(
        structural_hashes=hashes,
        target_json=target.spec,
        host_fingerprint=host_fingerprint,
        toolchain_key=key,
        top_k=_CHALLENGERS,
    ):
        winner = winners.get(record.structural_hash)
        # What was measured before the final has had its chance there.
        challenges = winner is None or (
            record.measured_at > winner.measured_at and record.mean_s < winner.mean_s
        )
        if challenges:
            chosen.setdefault(record.structural_hash, record)
    return [
        chosen.get(digest) or winners[digest]
        for digest in dict.fromkeys(hashes)
        if digest in chosen or digest in winners
    ]


def apply_records(
    graph: PreparedGraph,
    tasks: Sequence[Task],
    records: Sequence[Record],
    target: ResolvedTarget,
) -> Applied:
    """Schedules each kernel that has a record.

    A kernel counts as covered only if MetaSchedule did schedule it, not because a record with its
    hash was found.
    """
    from tvm import relax, transform

    by_hash = {record.structural_hash: record for record in records}
    with target.tvm:
        with memory_database(records, target):
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
    covered = total = 0.0
    for task in tasks:
        record = applied.get(task.structural_hash)
        seconds = task.weight * (record.mean_s if record else naive_seconds(task))
        total += seconds
        covered += seconds if record else 0.0
    return Applied(
        module=module,
        records=applied,
        coverage=covered / total if total else 1.0,
        latency_s=covered if applied else None,
    )


def naive_seconds(task: Task) -> float:
    """Estimated seconds of one call without a schedule, by arithmetic and by bytes moved."""
    return max(task.flops / _NAIVE_FLOPS_PER_S, task.bytes / _NAIVE_BYTES_PER_S)


def _scheduled_functions(module: IRModule) -> set[str]:
    from tvm.tirx import PrimFunc

    return {
        variable.name_hint
        for variable, function in module.functions_items()
        if isinstance(function, PrimFunc)
        and function.attrs is not None
        and bool(function.attrs.get("tirx.is_scheduled", False))
    }
