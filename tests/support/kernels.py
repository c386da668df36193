"""A small matrix product with a space of schedules, for tests that need traces and no tuning."""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import te
from tvm.s_tir import Schedule

from tunekit.catalogue import NewWorkload

FACTORS = (1, 2, 4, 8)


def matmul(size: int) -> tvm.ir.IRModule:
    a, b = te.placeholder((size, size), name="a"), te.placeholder((size, size), name="b")
    k = te.reduce_axis((0, size), name="k")
    c = te.compute((size, size), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="product")
    return tvm.IRModule({"main": te.create_prim_func([a, b, c])})


def workload(size: int) -> NewWorkload:
    module = matmul(size)
    return NewWorkload(
        str(tvm_ffi.structural_hash(module)), tvm.ir.save_json(module), "", f"matmul{size}"
    )


def scheduled(size: int, outer: int, inner: int, *, vectorized: bool) -> Schedule:
    """Splits by sampled numbers, one of them computed: what a space of tunekit's does."""
    schedule = Schedule(matmul(size))
    i, j, k = schedule.get_loops("product")
    codes = [10 * a + b for a in FACTORS for b in FACTORS]
    code = schedule.sample_categorical(
        codes, [1 / len(codes)] * len(codes), decision=codes.index(10 * outer + inner)
    )
    i_outer, i_inner = schedule.split(i, [None, code // 10])
    j_outer, j_inner = schedule.split(j, [None, code % 10])
    schedule.reorder(i_outer, j_outer, k, i_inner, j_inner)
    if vectorized:
        schedule.vectorize(j_inner)
    return schedule
