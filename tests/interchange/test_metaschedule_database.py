"""The catalogue as MetaSchedule's database: tuned into by MetaSchedule's own loop, applied by its
own pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax, te, topi
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.builder import BuilderResult, PyBuilder
from tvm.s_tir.meta_schedule.database import TuningRecord
from tvm.s_tir.meta_schedule.relax_integration import extract_tasks
from tvm.s_tir.meta_schedule.runner import PyRunner, RunnerFuture, RunnerResult

from tunekit.catalogue import Catalogue, FailureKind, NewSession, NewTask, NewTrial, NewWorkload
from tunekit.interchange.metaschedule_database import CatalogueDatabase
from tunekit.machine.host import detect_host
from tunekit.machine.target import ResolvedTarget
from tunekit.machine.toolchain import versions
from tunekit.spaces.metaschedule import generic_space, tune_context

OTHER_TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v2", "num-cores": 3})


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "catalogue.db") as opened:
        yield opened


@pytest.fixture
def database(catalogue: Catalogue, native: ResolvedTarget) -> Any:
    return CatalogueDatabase(catalogue, native)


def model() -> tvm.IRModule:
    """relu(x @ w), as Relax, down to one TIR function."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((16, 16), "float32"))
    w = relax.Var("w", relax.TensorType((16, 16), "float32"))
    with builder.function("main", [x, w]):
        with builder.dataflow():
            product = builder.emit(relax.op.matmul(x, w))
            out = builder.emit_output(relax.op.nn.relu(product))
        builder.emit_func_output(out)
    passes = [
        relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
    ]
    module: tvm.IRModule = tvm.transform.Sequential(passes)(builder.get())
    return module


def kernel(size: int = 16, name: str = "A") -> tvm.IRModule:
    a = te.placeholder((size, size), name=name)
    b = te.placeholder((size, size), name="B")
    function = te.create_prim_func([a, b, topi.nn.matmul(a, b)])
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def record(
    database: Any,
    module: tvm.IRModule,
    factor: int,
    seconds: list[float] | None,
    target: tvm.target.Target | None = None,
) -> TuningRecord:
    """A record that splits the first loop by `factor`."""
    schedule = Schedule(module)
    first = schedule.get_loops(schedule.get_sblock("T_matmul_NN"))[0]
    schedule.split(first, [None, factor])
    workload = database.commit_workload(module)
    args = ms.arg_info.ArgInfo.from_entry_func(module, False)
    return TuningRecord(schedule.trace, workload, seconds, target or database.target, args)


def seconds_of(record: TuningRecord) -> list[float]:
    return [float(second) for second in record.run_secs]


@derived_object
class Compiler(PyBuilder):  # type: ignore[misc]
    """Builds in this process: these kernels are known to be sound."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.built = folder, 0

    def build(self, build_inputs: list[Any]) -> list[BuilderResult]:
        results = []
        for given in build_inputs:
            self.built += 1
            # In a folder of its own, which MetaSchedule removes.
            path = self.folder / f"candidate{self.built}" / "kernel.so"
            path.parent.mkdir()
            tvm.compile(given.mod, target=given.target).export_library(str(path))
            results.append(BuilderResult(str(path), None))
        return results


@derived_object
class Stopwatch(PyRunner):  # type: ignore[misc]
    """Measures in this process, and fails every fourth candidate."""

    def __init__(self) -> None:
        super().__init__()
        self.ran = 0

    def run(self, runner_inputs: list[Any]) -> list[RunnerFuture]:
        return [
            RunnerFuture(f_done=lambda: True, f_result=self._measured(i)) for i in runner_inputs
        ]

    def _measured(self, given: Any) -> Any:
        self.ran += 1
        if self.ran % 4 == 0:
            result = RunnerResult(None, "told to fail")
        else:
            tensors = [
                tvm.runtime.tensor(np.ones([int(n) for n in info.shape], str(info.dtype)))
                for info in given.args_info
            ]
            library = tvm.runtime.load_module(given.artifact_path)
            watch = library.time_evaluator("main", tvm.cpu(), number=3, repeat=2)
            seconds = watch(*tensors).results
            result = RunnerResult(list(seconds), None)
        return lambda: result


def test_metaschedule_tunes_into_the_catalogue_and_applies_what_it_found(
    catalogue: Catalogue, database: Any, native: ResolvedTarget, tmp_path: Path
) -> None:
    module = model()
    (task,) = extract_tasks(module, native.tvm)
    context = tune_context(
        task.dispatched[0],
        native,
        generic_space(native),
        name="matmul_relu",
        threads=1,
        strategy=ms.search_strategy.EvolutionarySearch(population_size=16, init_min_unmeasured=8),
    )
    ms.tune.tune_tasks(
        tasks=[context],
        task_weights=[1.0],
        work_dir=str(tmp_path),
        max_trials_global=8,
        num_trials_per_iter=4,
        builder=Compiler(tmp_path),
        runner=Stopwatch(),
        database=database,
        cost_model=ms.cost_model.RandomModel(seed=1),
        task_scheduler="round-robin",
    )

    (session,) = catalogue.sessions.list()
    assert (session.origin, session.state, session.trials_left) == ("metaschedule", "finished", 0)
    assert session.trials_done == 8
    (summary,) = catalogue.trials.summaries(session.id)
    assert summary.failures == {FailureKind.RUN_TIMEOUT: 2}
    assert len(database) == len(database.get_all_tuning_records()) == 6
    assert catalogue.maintenance.check() == []

    # Another process would see no more of it than a new database over the same catalogue.
    again = CatalogueDatabase(catalogue, native)
    with again.target, again:
        scheduled = relax.transform.MetaScheduleApplyDatabase()(module)
    functions = [f for _, f in scheduled.functions_items() if isinstance(f, tvm.tirx.PrimFunc)]
    assert [bool(f.attrs.get("tirx.is_scheduled", False)) for f in functions] == [True]
    with native.tvm:
        machine = relax.VirtualMachine(tvm.compile(scheduled, native.tvm), tvm.cpu())
    x, w = np.random.default_rng(0).standard_normal((2, 16, 16)).astype("float32")
    out = machine["main"](tvm.runtime.tensor(x), tvm.runtime.tensor(w)).numpy()
    np.testing.assert_allclose(out, np.maximum(x @ w, 0), rtol=1e-4, atol=1e-4)


def test_a_record_is_in_the_catalogue_as_soon_as_it_is_committed(
    catalogue: Catalogue, database: Any
) -> None:
    module = kernel()
    assert not database.has_workload(module)
    made = record(database, module, 4, [2e-3, 4e-3])
    assert database.has_workload(module)
    assert len(database) == 0
    database.commit_tuning_record(made)

    with Catalogue.open(catalogue.location) as elsewhere:
        (trial,) = elsewhere.trials.read()
        assert trial.samples_s == (2e-3, 4e-3)
        assert trial.candidate_digest == str(
            tvm_ffi.structural_hash(made.as_measure_candidate().sch.mod)
        )
    assert len(database) == 1


def test_the_best_come_first_and_their_traces_replay(database: Any, native: ResolvedTarget) -> None:
    module = kernel()
    made = [
        record(database, module, factor, [seconds])
        for factor, seconds in ((2, 3e-3), (4, 1e-3), (8, 2e-3))
    ]
    for each in made:
        database.commit_tuning_record(each)

    best = database.get_top_k(database.commit_workload(kernel(name="other")), 2)

    assert [seconds_of(r) for r in best] == [[1e-3], [2e-3]]
    schedule = database.query_schedule(module, native.tvm, "main")
    expected = made[1].as_measure_candidate().sch.mod
    assert tvm_ffi.structural_equal(schedule.mod, expected)
    assert tvm_ffi.structural_equal(database.query_ir_module(module, native.tvm, "main"), expected)
    assert database.query_tuning_record(kernel(24), native.tvm, "main") is None
    assert database.get_top_k(database.commit_workload(kernel(24)), 5) == []


def test_seconds_with_other_things_in_the_caches_count_where_there_are_no_others(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    warm = CatalogueDatabase(catalogue, native)
    flushed = CatalogueDatabase(catalogue, native, name="flushed", cache="flush")
    module = kernel()
    flushed.commit_tuning_record(record(flushed, module, 2, [9e-3]))

    def found(database: Any) -> list[list[float]]:
        best = database.query_tuning_record(module, native.tvm, "main")
        top = database.get_top_k(database.commit_workload(module), 3)
        assert seconds_of(top[0]) == seconds_of(best)
        return [seconds_of(each) for each in top]

    assert found(warm) == [[9e-3]]
    warm.commit_tuning_record(record(warm, module, 4, [1e-3]))
    assert found(warm) == [[1e-3]]
    assert found(flushed) == [[9e-3]]


def test_a_lookup_never_crosses_targets_hosts_or_toolchains(
    catalogue: Catalogue, database: Any, native: ResolvedTarget
) -> None:
    module = kernel()
    database.commit_tuning_record(record(database, module, 2, [9e-3]))
    database.commit_tuning_record(record(database, module, 4, [1e-3], OTHER_TARGET))
    there = {
        "target_json": native.spec,
        "host_fingerprint": detect_host().fingerprint,
        "toolchain": versions(),
    }
    for elsewhere in ({"host_fingerprint": "elsewhere"}, {"toolchain": {"apache-tvm": "0.1"}}):
        session = catalogue.sessions.begin(
            NewSession(
                name="elsewhere",
                recipe_yaml="",
                recipe_digest="",
                model_digest=None,
                model_name="",
                host={},
                budget_trials=1,
                seed=0,
                **{**there, **elsewhere},
            )
        )
        workload = NewWorkload(
            str(tvm_ffi.structural_hash(module)), tvm.ir.save_json(module), "", "matmul"
        )
        (task_id,) = catalogue.trials.ensure_tasks(session.id, [NewTask(workload, "matmul", 1.0)])
        trace = tvm.ir.save_json(record(database, module, 8, None).trace)
        catalogue.trials.add(session.id, [NewTrial(task_id, "candidate", trace, samples_s=(1e-6,))])

    def seconds(target: tvm.target.Target) -> list[float]:
        return seconds_of(database.query_tuning_record(module, target, "main"))

    assert seconds(native.tvm) == [9e-3]
    assert seconds(OTHER_TARGET) == [1e-3]
    assert len(database) == 1
    assert (
        len(catalogue.records.best(structural_hashes=None, target_json=native.spec, top_k=None))
        == 3
    )


def test_what_metaschedule_calls_failed_is_a_failure_and_never_a_record(
    catalogue: Catalogue, database: Any
) -> None:
    module = kernel()
    database.commit_tuning_record(record(database, module, 2, [1e10]))

    (trial,) = catalogue.trials.read()
    assert trial.failure is not None
    assert "without a reason" in trial.failure.text
    assert not trial.failure.kind.deterministic
    assert database.get_top_k(database.commit_workload(module), 5) == []
    with pytest.raises(ValueError, match="run_secs"):
        database.commit_tuning_record(record(database, module, 4, None))
