"""Parallel loops whose threads help each other: each iteration once, none behind a slow one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax, te, tirx
from tvm.s_tir import Schedule
from tvm.script import tirx as T

from tunekit.graph.lowering import build as lowering
from tunekit.graph.lowering.work_stealing import steal_work

_COUNTED = "tunekit_take"


def _target(cores: int, **more: object) -> tvm.target.Target:
    return tvm.target.Target({"kind": "llvm", "num-cores": cores, **more})


def _rows(extent: int, dtype: str = "int32") -> tvm.IRModule:
    """2 x + the row's number, rows in parallel, each by way of a tile of its own."""
    x = te.placeholder((T.IntImm(dtype, extent), T.IntImm(dtype, 64)), name="x")
    y = te.compute(x.shape, lambda i, j: x[i, j] * 2.0 + i.astype("float32"), name="y")
    schedule = Schedule(tvm.IRModule({"main": te.create_prim_func([x, y])}))
    row, column = schedule.get_loops("y")
    schedule.parallel(row)
    tile = schedule.cache_write("y", 0, "local")
    schedule.reverse_compute_at(tile, row)
    schedule.vectorize(column)
    return schedule.mod


def _counting(extent: int) -> tvm.IRModule:
    """Adds one to each row, rows in parallel."""

    @T.prim_func(s_tir=True)
    def main(y: T.Buffer((extent, 64), "float32")):
        T.func_attr({"global_symbol": "main"})
        for i in T.parallel(extent):
            for j in range(64):
                with T.sblock("add"):
                    row, column = T.axis.remap("SS", [i, j])
                    y[row, column] = y[row, column] + T.float32(1)

    return tvm.IRModule({"main": main})


def _lowered(module: tvm.IRModule, target: tvm.target.Target) -> str:
    """The script of a module as TVM's pipeline leaves it and after `steal_work`."""
    kernels, _, _ = tvm.tirx.get_tir_pipeline("default")
    bound = tvm.tirx.transform.BindTarget(target.with_host(target))(module)
    return str(steal_work(kernels(bound)).script())


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize(
    ("extent", "cores"), [(1, 2), (2, 2), (3, 2), (100, 2), (1001, 2), (5000, 3), (64, 5), (7, 16)]
)
def test_each_iteration_runs_once(extent: int, cores: int, dtype: str) -> None:
    function = lowering.build(_rows(extent, dtype), _target(cores))["main"]
    data = np.random.default_rng(0).random((extent, 64), dtype=np.float32)
    given = tvm.runtime.tensor(data)
    for _ in range(20):
        result = tvm.runtime.tensor(np.full_like(data, np.nan))
        function(given, result)
        expected = 2 * data + np.arange(extent, dtype=np.float32)[:, None]
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(("extent", "cores"), [(3, 2), (1001, 2), (5000, 3), (7, 16)])
def test_no_iteration_runs_twice(extent: int, cores: int) -> None:
    count = lowering.build(_counting(extent), _target(cores))["main"]
    counts = tvm.runtime.tensor(np.zeros((extent, 64), np.float32))
    for _ in range(20):
        count(counts)
    np.testing.assert_array_equal(counts.numpy(), 20)


_SLOW_ITERATION = """\
import threading
import numpy as np, tvm, tvm_ffi
from tvm.script import tirx as T
from tunekit.graph.lowering import build as lowering

last = threading.Event()


@tvm_ffi.register_global_func("test.iteration")
def iteration(number):
    # The first of eight waits for the fourth, which is of the same thread's part.
    if number == 3:
        last.set()
    if number == 0 and not last.wait(timeout=30):
        raise SystemExit("nobody took the fourth iteration")


@tvm.script.ir_module
class Module:
    @T.prim_func(s_tir=True)
    def main(x: T.Buffer((8,), "float32")):
        for i in T.parallel(8):
            with T.sblock("wait"):
                v = T.axis.spatial(8, i)
                T.evaluate(T.call_packed("test.iteration", v))


target = tvm.target.Target({"kind": "llvm", "num-cores": 2})
x = tvm.runtime.tensor(np.zeros(8, "float32"))
lowering.build(Module, target)["main"](x)
print("helped" if last.is_set() else "left alone")
"""


def test_a_thread_takes_over_what_a_slow_one_has_not_begun(tmp_path: Path) -> None:
    script = tmp_path / "slow_iteration.py"
    script.write_text(_SLOW_ITERATION)
    result = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "TVM_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.stdout.strip() == "helped", result.stderr


def test_what_each_iteration_allocates_is_allocated_once_for_a_thread() -> None:
    text = _lowered(_rows(100), _target(2))
    loop = text.index("T.parallel(")
    assert _COUNTED in text
    assert loop < text.index("y_local", loop) < text.index("while", loop)


@pytest.mark.parametrize(
    ("extent", "target"),
    [
        (2, _target(2)),
        (2**30, _target(2)),
        (100, _target(1)),
        (100, tvm.target.Target({"kind": "llvm"})),
        # Where an atomic addition may need a library.
        (100, _target(2, mtriple="riscv64-linux-gnu")),
    ],
    ids=[
        "an iteration each",
        "too many to count",
        "one core",
        "unknown cores",
        "another architecture",
    ],
)
def test_loops_stay_where_there_is_nothing_to_share(extent: int, target: tvm.target.Target) -> None:
    assert _COUNTED not in _lowered(_rows(extent, "int64"), target)


def test_iterations_that_allocate_by_a_variable_stay() -> None:
    row, size = tirx.Var("row", "int32"), tirx.Var("size", "int32")
    scratch = tirx.decl_buffer((size,), "float32", name="scratch")
    body = tirx.SeqStmt([tirx.AllocBuffer(scratch), tirx.BufferStore(scratch, 0.0, [row])])
    loop = tirx.For(row, 0, 100, tirx.ForKind.PARALLEL, body)
    function = tirx.PrimFunc([size], loop).with_attr("target", _target(2))
    module = tvm.IRModule({"main": function})
    tvm.ir.assert_structural_equal(steal_work(module), module)


@pytest.mark.parametrize(
    ("target", "instruction"),
    [
        (_target(4, mtriple="aarch64-linux-gnu"), "ldxr"),
        (_target(4, mtriple="aarch64-linux-gnu", mattr=["+lse"]), "ldadd"),
        (_target(2, mtriple="x86_64-linux-gnu"), "lock"),
    ],
    ids=["aarch64", "aarch64 with LSE", "x86_64"],
)
def test_taking_a_piece_is_an_instruction_and_not_a_call(
    target: tvm.target.Target, instruction: str
) -> None:
    assembly = lowering.build(_rows(100), target).inspect_source("asm")
    assert instruction in assembly
    assert _COUNTED not in assembly


def test_kernels_of_a_model_are_lowered_alike() -> None:
    shape = relax.TensorType((100, 64), "float32")
    builder = relax.BlockBuilder()
    kernel = builder.add_func(_rows(100)["main"].without_attr("global_symbol"), "rows")
    x = relax.Var("x", shape)
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(relax.call_tir(kernel, [x], shape)))
    executable = lowering.compile_model(builder.get(), _target(2, mtriple="x86_64-linux-gnu"))
    [kernels] = executable.mod.imports
    assert "lock" in kernels.inspect_source("asm")
