"""MetaSchedule by hand, with tunekit's catalogue as its database.

    python examples/05_metaschedule_database.py

Three schedules of one kernel are written by hand, timed, and committed; MetaSchedule's own pass
then applies the fastest. MetaSchedule's tuning functions take the same object as `database=`, and
what `tunekit tune` measured is found the same way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tvm
from tvm import relax
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.database import TuningRecord

from tunekit import Catalogue
from tunekit.interchange import CatalogueDatabase


def build() -> tvm.IRModule:
    """A matrix product and a rectifier, fused into one kernel."""
    x = relax.Var("x", relax.TensorType((64, 128), "float32"))
    w = relax.Var("w", relax.TensorType((128, 64), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x, w]):
        with builder.dataflow():
            product = builder.emit(relax.op.matmul(x, w))
            active = builder.emit_output(relax.op.nn.relu(product))
        builder.emit_func_output(active)
    passes = tvm.ir.transform.Sequential(
        [
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
        ]
    )
    return passes(builder.finalize())


def schedule_of(kernel: tvm.IRModule, width: int) -> Schedule:
    """Rows on all threads, and vectors of `width` columns."""
    schedule = Schedule(kernel)
    for name in ("matmul", "compute"):
        rows, columns, *reduction = schedule.get_loops(schedule.get_sblock(name))
        outer, inner = schedule.split(columns, [None, width])
        schedule.reorder(rows, outer, *reduction, inner)
        schedule.parallel(rows)
        schedule.vectorize(inner)
    return schedule


def measure(module: tvm.IRModule, target: tvm.target.Target) -> list[float]:
    """Seconds of a few runs."""
    kernel = tvm.compile(module, target=target).jit()
    shapes = ((64, 128), (128, 64), (64, 64))
    arrays = [tvm.runtime.tensor(np.ones(shape, "float32")) for shape in shapes]
    return list(kernel.time_evaluator("main", tvm.cpu(), number=10, repeat=3)(*arrays).results)


def main(folder: Path = Path("artifacts/examples")) -> None:
    """Measures three schedules, applies the best, and runs it."""
    folder.mkdir(parents=True, exist_ok=True)
    module = build()
    with Catalogue.open(folder / "metaschedule.db") as catalogue:
        database = CatalogueDatabase(catalogue, "native")
        (task,) = ms.relax_integration.extract_tasks(module, database.target)
        kernel = task.dispatched[0]
        arguments = ms.arg_info.ArgInfo.from_entry_func(kernel, False)
        workload = database.commit_workload(kernel)
        for width in (4, 8, 16):
            schedule = schedule_of(kernel, width)
            seconds = measure(schedule.mod, database.target)
            print(f"vectors of {width:2}: {1e6 * min(seconds):.1f} microseconds")
            database.commit_tuning_record(
                TuningRecord(schedule.trace, workload, seconds, database.target, arguments)
            )
        with database.target, database:
            tuned = relax.transform.MetaScheduleApplyDatabase()(module)
        print(f"records in {folder / 'metaschedule.db'}: {len(database)}")

    machine = relax.VirtualMachine(tvm.compile(tuned, target=database.target), tvm.cpu())
    random = np.random.default_rng(0)
    x = random.standard_normal((64, 128)).astype("float32")
    w = random.standard_normal((128, 64)).astype("float32")
    result = machine["main"](tvm.runtime.tensor(x), tvm.runtime.tensor(w)).numpy()
    np.testing.assert_allclose(result, np.maximum(x @ w, 0), rtol=1e-3, atol=1e-3)
    print("the library with the best record computes what numpy does")


if __name__ == "__main__":
    main()
