"""Indices of 32 bits: where they are, and that a loop's hint survives lowering with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.script import tirx as T

from tunekit.graph.lowering.narrow_indices import narrow_indices
from tunekit.machine.target import resolve_target
from tunekit.spaces.register_tiles import PARTITION

ScriptAfter = Callable[[str, tvm.IRModule], str]

_NATIVE = resolve_target("native").tvm


def _ragged() -> tvm.IRModule:
    """A tile of 4 over 10 elements in int64, to be cut where it sticks out."""
    extent = T.int64(10)
    x = te.placeholder((extent,), name="x")
    y = te.compute((extent,), lambda i: x[i] * 2.0, name="y")
    schedule = Schedule(tvm.IRModule({"main": te.create_prim_func([x, y])}))
    outer, inner = schedule.split(schedule.get_loops("y")[0], [None, 4])
    schedule.annotate(outer, PARTITION, 1)
    schedule.unroll(inner)
    return schedule.mod


def test_a_loop_is_cut_where_its_last_tile_sticks_out(script_after: ScriptAfter) -> None:
    module = narrow_indices(_ragged(), _NATIVE)
    assert "range(2)" in script_after("s_tir.LoopPartition", module)
    data = np.arange(10, dtype="float32")
    result = tvm.runtime.tensor(np.zeros(10, "float32"))
    tvm.tirx.build(module, _NATIVE)["main"](tvm.runtime.tensor(data), result)
    np.testing.assert_array_equal(result.numpy(), 2 * data)


def test_tvm_itself_loses_the_hint_of_a_loop_in_int64(script_after: ScriptAfter) -> None:
    """What this is for: where it fails with a later TVM, `narrow_indices` may go."""
    assert "range(2)" not in script_after("s_tir.LoopPartition", _ragged())


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4,), "int64"), ((2**20, 2**11), "float32")], ids=["int64", "too large"]
)
def test_kernels_that_need_64_bits_keep_them(shape: tuple[int, ...], dtype: str) -> None:
    x = te.placeholder([T.int64(extent) for extent in shape], dtype, name="x")
    y = te.compute(x.shape, lambda *i: x(*i) + x(*i), name="y")
    module = tvm.IRModule({"main": te.create_prim_func([x, y])})
    tvm.ir.assert_structural_equal(narrow_indices(module, _NATIVE), module)


def test_kernels_with_numbers_beyond_32_bits_keep_them() -> None:
    x = te.placeholder((T.int64(4),), name="x")
    far = T.int64(2**33)
    y = te.compute(x.shape, lambda i: x[i] + T.Cast("float32", i * far), name="y")
    module = tvm.IRModule({"main": te.create_prim_func([x, y])})
    tvm.ir.assert_structural_equal(narrow_indices(module, _NATIVE), module)


def test_only_kernels_of_a_cpu_are_changed() -> None:
    x = te.placeholder((T.int64(4),), name="x")
    y = te.compute(x.shape, lambda i: x[i] + 1.0, name="y")
    module = tvm.IRModule({"main": te.create_prim_func([x, y])})
    assert narrow_indices(module, tvm.target.Target({"kind": "cuda"})) is module
