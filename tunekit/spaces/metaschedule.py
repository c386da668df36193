"""MetaSchedule's objects, made without what cannot work on the way.

`TuneContext` imports `tvm.s_tir.tensor_intrin` when it is made. That parses every CUDA intrinsic
through `inspect.stack()`: 47 s of CPU, for intrinsics that no LLVM space of tunekit's uses.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tunekit.ir.trace import load_trace

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir.meta_schedule import TuneContext
    from tvm.s_tir.meta_schedule.database import Database
    from tvm.s_tir.meta_schedule.search_strategy import SearchStrategy
    from tvm.s_tir.meta_schedule.space_generator import SpaceGenerator

    from tunekit.catalogue import Record
    from tunekit.machine.target import ResolvedTarget

_INTRINSICS = "tvm.s_tir.tensor_intrin"


@contextmanager
def without_tensor_intrinsics() -> Iterator[None]:
    """Keeps the import of tensor intrinsics from costing 47 s; does nothing once they are there."""
    if _INTRINSICS in sys.modules:
        yield
        return
    sys.modules[_INTRINSICS] = ModuleType(_INTRINSICS)
    try:
        yield
    finally:
        del sys.modules[_INTRINSICS]
        # `import a.b` also binds b in a; an empty module must not stay behind there.
        parent = sys.modules.get("tvm.s_tir")
        if parent is not None and hasattr(parent, "tensor_intrin"):
            delattr(parent, "tensor_intrin")


def quiet_logger() -> logging.Logger:
    """A logger that keeps MetaSchedule's tables out of the terminal."""
    logger = logging.getLogger("tunekit.metaschedule")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        logger.setLevel(logging.ERROR)
    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.ERROR)
    return logger


def tune_context(
    module: IRModule,
    target: ResolvedTarget,
    space: SpaceGenerator,
    *,
    name: str,
    threads: int,
    strategy: SearchStrategy | None = None,
) -> TuneContext:
    """MetaSchedule's context of a workload: what its space, postprocessors, mutators and features
    need to know of it.

    Args:
        module: the workload.
        target: what it is scheduled for.
        space: where candidates come from.
        name: the task's name.
        threads: threads that extract features.
        strategy: a search of MetaSchedule's own, for who wants that.
    """
    from tvm.s_tir import meta_schedule as ms

    def make() -> TuneContext:
        return ms.TuneContext(
            mod=module,
            target=target.tvm,
            space_generator=space,
            search_strategy=strategy,
            task_name=name,
            rand_state=1,
            num_threads=threads,
            logger=quiet_logger(),
        )

    if target.kind != "llvm":
        return make()
    with without_tensor_intrinsics():
        return make()


def generic_space(target: ResolvedTarget) -> SpaceGenerator:
    """MetaSchedule's own space for the target: fits whatever can be scheduled at all."""
    from tvm.s_tir.meta_schedule.space_generator import PostOrderApply

    if target.kind == "cuda":
        return PostOrderApply()
    _register_pooling_rules()
    # Not "from-target": with VNNI or AVX-512 among the features that picks rules for int8
    # intrinsics, which would have to be imported.
    return PostOrderApply(sch_rules="llvm", postprocs="llvm", mutator_probs="llvm")


def _register_pooling_rules() -> None:
    """Says that poolings have no rule of their own on CPUs.

    Their blocks ask for one by name; where it is missing TVM prints a warning for each of them
    into whatever is on the terminal.
    """
    from tvm_ffi import get_global_func, register_global_func

    for pooling in ("pool_max", "pool_avg", "pool_sum", "adaptive_pool_avg", "adaptive_pool_max"):
        name = f"s_tir.meta_schedule.cpu.meta_schedule.{pooling}"
        if get_global_func(name, allow_missing=True) is None:
            register_global_func(name, lambda schedule, _block: [schedule])


def memory_database(records: Sequence[Record], target: ResolvedTarget) -> Database:
    """MetaSchedule's view of catalogue records: only those of one target.

    MetaSchedule looks records up by workload alone, so the target has to be settled before.
    """
    from tvm.s_tir.meta_schedule.database import MemoryDatabase

    database = MemoryDatabase()
    for record in records:
        add_record(database, record, target)
    return database


def add_record(database: Database, record: Record, target: ResolvedTarget) -> Any:
    """Commits one catalogue record to a MetaSchedule database; returns its `TuningRecord`."""
    import tvm
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo
    from tvm.s_tir.meta_schedule.database import TuningRecord

    module = tvm.ir.load_json(record.module_json)
    tuning_record = TuningRecord(
        load_trace(record.trace_json),
        database.commit_workload(module),
        list(record.samples_s),
        target.tvm,
        ArgInfo.from_entry_func(module, False),
    )
    database.commit_tuning_record(tuning_record)
    return tuning_record


def add_schedule(database: Database, module: IRModule, trace: Any, target: ResolvedTarget) -> None:
    """Commits a schedule that nobody measured, for a workload that has no record."""
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo
    from tvm.s_tir.meta_schedule.database import TuningRecord

    # The database ranks by seconds; these are of no meaning where a workload has only one record.
    database.commit_tuning_record(
        TuningRecord(
            trace,
            database.commit_workload(module),
            [1.0],
            target.tvm,
            ArgInfo.from_entry_func(module, False),
        )
    )
