"""Operators in C as functions of TVM's: one block that says what it reads and writes, and calls.

TVM schedules nothing in it, fuses nothing with it, and plans the memory of its workspace as that of
any result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.extern_kernels.kernel import ExternKernel

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr
    from tvm.tirx import PrimFunc, Stmt

# The function's attribute that holds its kernel.
_KERNEL = "tunekit.extern_kernel"
# TVM's: fused with nothing.
_OPAQUE = 8


def emit_kernel(
    builder: BlockBuilder, kernel: ExternKernel, arguments: Sequence[Expr]
) -> list[Expr]:
    """Calls a kernel.

    Args:
        builder: of the function that calls.
        kernel: what is called.
        arguments: its inputs, as they are stored.

    Returns:
        Its outputs, as they are stored.
    """
    from tvm import relax

    function = builder.add_func(function_of(kernel), f"tunekit_{kernel.operator}")
    types = [relax.TensorType(tensor.stored, tensor.dtype) for tensor in kernel.written]
    result = builder.emit(relax.call_tir(function, relax.Tuple(list(arguments)), types))
    if len(types) == 1:
        return [result]
    return [builder.emit(relax.TupleGetItem(result, n)) for n in range(len(kernel.outputs))]


def kernel_of(function: Any) -> ExternKernel | None:
    """The kernel that a function of a module calls, None of any other function."""
    return ExternKernel.from_json(str(function.attrs[_KERNEL])) if is_extern(function) else None


def is_extern(function: Any) -> bool:
    """Whether a function calls a kernel in C."""
    return bool(function.attrs) and _KERNEL in function.attrs


def kernels_of(module: IRModule) -> list[ExternKernel]:
    """The kernels that the functions of a module call, each once, by name."""
    found = {
        kernel.symbol: kernel
        for _, function in module.functions_items()
        if (kernel := kernel_of(function)) is not None
    }
    return [found[symbol] for symbol in sorted(found)]


def function_of(kernel: ExternKernel) -> PrimFunc:
    """The function that calls a kernel's phases one after another."""
    from tvm import tirx
    from tvm.s_tir import SBlock, SBlockRealize

    reads, writes = (
        [
            tirx.decl_buffer(tensor.stored, tensor.dtype, name=f"{name}{number}")
            for number, tensor in enumerate(tensors)
        ]
        for name, tensors in (("in", kernel.inputs), ("out", kernel.written))
    )
    pointers = [
        tirx.address_of(tirx.BufferLoad(buffer, [0] * len(tensor.stored)))
        for buffer, tensor in zip([*reads, *writes], [*kernel.inputs, *kernel.written], strict=True)
    ]
    steps = [
        _step(f"{kernel.symbol}_{number}", pointers, phase.tasks)
        for number, phase in enumerate(kernel.code.phases)
    ]
    block = SBlock(
        [],
        [_whole(*pair) for pair in zip(reads, kernel.inputs, strict=True)],
        [_whole(*pair) for pair in zip(writes, kernel.written, strict=True)],
        kernel.operator,
        tirx.SeqStmt(steps) if len(steps) > 1 else steps[0],
    )
    root = SBlock([], [], [], "root", SBlockRealize([], True, block))
    function = tirx.PrimFunc([*reads, *writes], SBlockRealize([], True, root))
    return function.with_attrs({_KERNEL: kernel.to_json(), "op_pattern": _OPAQUE})


def _step(symbol: str, pointers: Sequence[Any], tasks: int) -> Stmt:
    from tvm import tirx

    def call(task: Any) -> Stmt:
        count = tirx.const(tasks, "int32")
        return tirx.Evaluate(tirx.call_extern("int32", symbol, *pointers, task, count))

    if tasks == 1:
        return call(tirx.const(0, "int32"))
    task = tirx.Var("task", "int32")
    return tirx.For(task, 0, tasks, tirx.ForKind.PARALLEL, call(task))


def _whole(buffer: Any, tensor: Any) -> Any:
    from tvm.ir import Range
    from tvm.tirx import BufferRegion

    return BufferRegion(buffer, [Range(0, extent) for extent in tensor.stored])
