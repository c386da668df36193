"""A candidate that computes something else than its workload never gets seconds to be chosen by."""

# ruff: noqa: N803 - tensors have capital letters in TIR
from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tvm
import wild_kernels as wild
from tvm import te
from tvm.s_tir import Schedule
from tvm.script import tirx as T

from tunekit.catalogue import FailureKind
from tunekit.machine.target import ResolvedTarget
from tunekit.measure import correctness
from tunekit.measure.correctness import Expected, References, random_pool
from tunekit.measure.local.measurer import LocalMeasurer
from tunekit.measure.measurer import (
    Candidate,
    MeasureOptions,
    Measurer,
    MeasureResult,
    TensorArgument,
)
from tunekit.measure.reference_runs import ReferenceRuns
from tunekit.measure.remote.measurer import RpcMeasurer
from tunekit.measure.remote.protocol import Linking, Remote
from tunekit.processes.child import fork
from tunekit.search.candidates import candidate_of

_N = 48
_MATRICES = (TensorArgument((_N, _N), "float32"),) * 3


@pytest.fixture(scope="module", params=["here", "on a device"])
def measurer(request: pytest.FixtureRequest, native: ResolvedTarget) -> Iterator[Measurer]:
    options = MeasureOptions(native.spec, "cpu", 2, 1, 60, 30, 2, 1, "warm", 2 << 30)
    if request.param == "here":
        with LocalMeasurer(options) as here:
            yield here
        return
    machines = request.getfixturevalue("machines")
    key, _ = machines.servers(1)
    with RpcMeasurer(options, Remote(str(machines.address), key, 60.0, Linking("g++"))) as remote:
        yield remote


def _matmul(terms: int = _N) -> tvm.ir.IRModule:
    """A matrix product with a clip on it, of so many terms: with fewer than all it is wrong."""
    a, b = te.placeholder((_N, _N), name="a"), te.placeholder((_N, _N), name="b")
    k = te.reduce_axis((0, terms), name="k")
    c = te.compute((_N, _N), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    d = te.compute((_N, _N), lambda i, j: te.min(te.max(c[i, j], 0.0), 6.0), name="d")
    return tvm.IRModule({"main": te.create_prim_func([a, b, d])})


def _tiled() -> tvm.ir.IRModule:
    schedule = Schedule(_matmul())
    i, j, k = schedule.get_loops("c")
    k_outer, k_inner = schedule.split(k, [None, 8])
    schedule.reorder(k_outer, i, k_inner, j)
    schedule.parallel(schedule.get_loops("d")[0])
    return schedule.mod


def _with_its_input_overwritten() -> tvm.ir.IRModule:
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
        T.func_attr({"global_symbol": "main"})
        for i in range(16):
            with T.sblock("add"):
                vi = T.axis.spatial(16, i)
                B[vi] = A[vi] + T.float32(1)
                A[vi] = T.float32(3)

    return tvm.IRModule({"main": main})


def _half_written() -> tvm.ir.IRModule:
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
        T.func_attr({"global_symbol": "main"})
        for i in range(8):
            with T.sblock("add"):
                vi = T.axis.spatial(8, i)
                B[vi] = A[vi] + T.float32(1)

    return tvm.IRModule({"main": main})


def _logarithm(scale: float = 1.0) -> tvm.ir.IRModule:
    """Not a number for negative inputs."""
    a = te.placeholder((16,), name="a")
    b = te.compute((16,), lambda i: te.log(a[i]) * te.const(scale, "float32"), name="b")
    return tvm.IRModule({"main": te.create_prim_func([a, b])})


def test_a_workloads_outputs_are_computed_once_for_all_its_candidates() -> None:
    arguments = (TensorArgument((16,), "float32"),) * 2
    candidates = [
        *_candidates(_logarithm(), arguments, *[_logarithm()] * 3),
        *_candidates(_logarithm(2.0), arguments, *[_logarithm(2.0)] * 2),
    ]
    runs = ReferenceRuns(candidates, References(), random_pool(), "llvm")
    # Processes that end without a word: how many there are is what counts here.
    while runs.start_next(lambda _: fork(lambda _: None)):
        pass
    assert len(runs.running) == 2
    assert runs.unknown == {candidate.workload_json for candidate in candidates}
    for run in list(runs.running):
        runs.take(run, None)
        run.process.kill()
    assert runs.are_done


def test_what_a_batch_needs_does_not_give_way_to_what_it_brings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tunekit.measure.correctness._KEPT_BYTES", 100)
    arguments = (TensorArgument((16,), "float32"),) * 2
    references = References()
    known = Expected(outputs=(1,), signed=True, reduction=1)
    for workload in ("old", "needed", "older"):
        assert references.make_room(workload, arguments)
        references.note(workload, known, arguments)
    assert not references.make_room("older", arguments)  # Used again: "old" is what was not.
    assert references.make_room("new", arguments, needed=("needed", "new"))
    kept = {name for name in ("old", "needed", "older") if references.get(name) == known}
    assert kept == {"needed"}


def _candidates(
    workload: tvm.ir.IRModule,
    arguments: tuple[TensorArgument, ...],
    *modules: tvm.ir.IRModule,
    best_s: float | None = None,
) -> list[Candidate]:
    return [
        Candidate(
            key,
            tvm.ir.save_json(module),
            arguments,
            math.inf,
            best_s=best_s,
            workload_json=tvm.ir.save_json(workload),
        )
        for key, module in enumerate(modules)
    ]


def _results(
    measurer: Measurer, candidates: list[Candidate], rounds: int = 1
) -> dict[int, MeasureResult]:
    return {result.key: result for result in measurer.measure(candidates, rounds)}


@pytest.mark.parametrize(
    ("workload", "arguments", "wrong", "text"),
    [
        (_matmul, _MATRICES, lambda: _matmul(_N - 1), "argument 2 differs"),
        (wild.good, wild.VECTORS, lambda: wild.good(2), "argument 1 differs"),
        (wild.good, wild.VECTORS, _with_its_input_overwritten, "argument 0, which is an input"),
        (wild.good, wild.VECTORS, _half_written, "argument 1 differs"),
        (_logarithm, wild.VECTORS, lambda: _logarithm(1.01), "argument 1 differs"),
    ],
)
def test_wrong_outputs_of_the_fastest_are_a_failure_of_that_kind(
    measurer: Measurer,
    workload: Callable[[], tvm.ir.IRModule],
    arguments: tuple[TensorArgument, ...],
    wrong: Callable[[], tvm.ir.IRModule],
    text: str,
) -> None:
    (result,) = measurer.measure(_candidates(workload(), arguments, wrong()))
    assert (result.failure, result.samples_s) == (FailureKind.WRONG_OUTPUT, None)
    assert text in result.text


def test_schedules_that_add_up_in_another_order_are_right(measurer: Measurer) -> None:
    results = _results(measurer, _candidates(_matmul(), _MATRICES, _tiled(), _matmul()), rounds=2)
    for result in results.values():
        assert result.failure is None
        assert result.text == ""
        assert result.seconds is not None


def test_a_candidate_that_does_not_lead_is_not_compared(measurer: Measurer) -> None:
    candidates = _candidates(_matmul(), _MATRICES, _matmul(_N - 1), best_s=1e-12)
    assert _results(measurer, candidates)[0].failure is None


def test_in_several_rounds_all_are_compared(measurer: Measurer) -> None:
    candidates = _candidates(
        _matmul(), _MATRICES, _matmul(_N - 1), _tiled(), _matmul(_N - 2), best_s=1e-12
    )
    results = _results(measurer, candidates, rounds=2)
    failures = [results[key].failure for key in range(3)]
    assert failures == [FailureKind.WRONG_OUTPUT, None, FailureKind.WRONG_OUTPUT]


def test_a_candidate_that_takes_packed_weights_is_compared_with_them_unpacked(
    measurer: Measurer,
) -> None:
    """Measured with weights as they are packed at compile time, and compared as they are before."""

    def packed(key: int, terms: int) -> Candidate:
        workload = _matmul(terms)["main"].with_attr("layout_free_buffers", [1])
        schedule = Schedule(tvm.IRModule({"main": workload}))
        panels = schedule.cache_read("c", 1, "global")
        schedule.transform_layout("c", ("read", 1), lambda k, j: [j // 16, k, j % 16])
        schedule.annotate(panels, "meta_schedule.layout_rewrite_preproc", True)
        whole = tvm.ir.save_json(_matmul())
        module = tvm.IRModule({"main": workload})
        return candidate_of(key, schedule.mod, module, math.inf, workload_json=whole)

    results = _results(measurer, [packed(0, _N), packed(1, _N - 16)], rounds=2)
    assert results[0].failure is None
    assert results[0].text == ""
    assert results[1].failure is FailureKind.WRONG_OUTPUT


def test_a_workload_that_cannot_be_run_is_said_and_blames_no_candidate(measurer: Measurer) -> None:
    (result,) = measurer.measure(_candidates(wild.calling("abort"), wild.VECTORS, wild.good()))
    assert result.failure is None
    assert result.text == (
        "the outputs were not compared: SIGABRT while the unscheduled function ran"
    )


def test_rounding_is_told_from_errors_by_the_length_of_the_sum() -> None:
    assert correctness.longest_reduction(_matmul(40)) == 40
    assert correctness.longest_reduction(_logarithm()) == 1
    assert correctness.tolerance("float32", 1) < correctness.tolerance("float32", 4608) < 1e-3
    assert correctness.tolerance("int32", 4608) == 0


@pytest.mark.parametrize(
    ("result", "wanted", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([math.nan, math.inf], [math.nan, math.inf], 0.0),
        ([math.nan, 2.0], [1.0, 2.0], math.inf),
        ([1.0, 2.0], [math.inf, 2.0], math.inf),
        ([1e-3, 0.0], [0.0, 0.0], 1e-3),
    ],
)
def test_errors_are_relative_to_the_largest_output(
    result: list[float], wanted: list[float], error: float
) -> None:
    assert correctness.relative_error(np.array(result), np.array(wanted)) == error
