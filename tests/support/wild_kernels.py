"""Kernels that do to their process what bad schedules do: crash it, hang it, eat its memory.

All of them add to 16 floats, A to B, and some do something else first.
"""

# ruff: noqa: N803 - tensors have capital letters in TIR
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import tvm
from tvm.script import tirx as T

from tunekit.measure.measurer import Candidate, TensorArgument

if TYPE_CHECKING:
    from tvm.ir import IRModule

VECTORS = (TensorArgument((16,), "float32"), TensorArgument((16,), "float32"))


def candidate(
    key: int,
    module: IRModule | str,
    arguments: tuple[TensorArgument, ...] = VECTORS,
    slow_s: float = math.inf,
) -> Candidate:
    """A candidate of this module, or of this text in its place."""
    text = module if isinstance(module, str) else tvm.ir.save_json(module)
    return Candidate(key, text, arguments, slow_s)


def good(number: int = 1) -> IRModule:
    """Does nothing else. Another number is another kernel: what it adds instead of one."""

    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
        T.func_attr({"global_symbol": "main"})
        for i in range(16):
            with T.sblock("add"):
                vi = T.axis.spatial(16, i)
                B[vi] = A[vi] + T.float32(number)

    return tvm.IRModule({"main": main})


def calling(function: str, argument: int = 0) -> IRModule:
    """Calls a function of the C library with a whole number."""

    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
        T.func_attr({"global_symbol": "main"})
        for i in range(16):
            with T.sblock("add"):
                vi = T.axis.spatial(16, i)
                T.evaluate(T.call_extern("int32", function, T.int64(argument)))
                B[vi] = A[vi] + T.float32(1)

    return tvm.IRModule({"main": main})


def writing_far_away() -> IRModule:
    """Writes a terabyte behind the end of B."""

    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
        T.func_attr({"global_symbol": "main"})
        for i in range(16):
            with T.sblock("add"):
                vi = T.axis.spatial(16, i)
                B[T.int64(vi) + T.int64(1 << 38)] = A[vi] + T.float32(1)

    return tvm.IRModule({"main": main})


def needing(floats: int) -> IRModule:
    """Uses this much scratch memory, on every page of it."""

    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
        T.func_attr({"global_symbol": "main"})
        scratch = T.sblock_alloc_buffer((floats,), "float32")
        for i in range(floats):
            with T.sblock("fill"):
                vi = T.axis.spatial(floats, i)
                scratch[vi] = A[vi % 16]
        for i in range(16):
            with T.sblock("add"):
                vi = T.axis.spatial(16, i)
                B[vi] = scratch[vi * (floats // 16)] + T.float32(1)

    return tvm.IRModule({"main": main})


def long_to_build(statements: int) -> IRModule:
    """Unrolled into so many statements that LLVM takes its time over them."""

    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
        T.func_attr({"global_symbol": "main"})
        for i in T.unroll(statements):
            with T.sblock("add"):
                vi = T.axis.opaque(statements, i)
                B[vi % 16] = B[(vi * 7) % 16] * A[vi % 16] + T.float32(1)

    return tvm.IRModule({"main": main})


def for_a_gpu() -> IRModule:
    """Bound to GPU threads, which no CPU has."""

    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "float32")):
        T.func_attr({"global_symbol": "main"})
        for i in T.thread_binding(16, thread="threadIdx.x"):
            with T.sblock("add"):
                vi = T.axis.spatial(16, i)
                B[vi] = A[vi] + T.float32(1)

    return tvm.IRModule({"main": main})
