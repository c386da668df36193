"""Indices of 32 bits for kernels that come with 64.

Relax counts in int64, so all loops of a model's kernels do. When TVM lowers such a kernel it
narrows the loops' variables to int32 (NarrowDataType) but not the one that a hint for LoopPartition
names, which is then found nowhere: no loop is cut where its last tile sticks out, and each value of
each tile is asked whether it is there; `benchmarks/narrow_indices.py` says what that costs.
Kernels whose indices are narrow before they are lowered keep their hints.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.target import Target
    from tvm.tirx import PrimFunc

_LARGEST = 2**31 - 1


def narrow_indices(module: IRModule, target: Target) -> IRModule:
    """The module, its kernels' indices in int32 where they allow it: fewer than 2**31 elements in
    a tensor, none of them in int64, and no larger number in an expression.

    Args:
        module: scheduled kernels, with or without the Relax functions that call them.
        target: what for; only LLVM's kernels are changed.
    """
    from tvm import IRModule
    from tvm.tirx import PrimFunc
    from tvm.tirx.transform import ForceNarrowIndexToInt32

    if target.kind.name != "llvm":
        return module
    narrow = {
        variable: function
        for variable, function in module.functions_items()
        if isinstance(function, PrimFunc) and _can_be_narrow(function)
    }
    narrowed = ForceNarrowIndexToInt32()(IRModule(narrow))
    result = IRModule(dict(module.functions_items()), attrs=module.attrs)
    result.update(narrowed)
    return result


def _can_be_narrow(function: PrimFunc) -> bool:
    from tvm.s_tir import SBlock
    from tvm.tirx import IntImm
    from tvm_ffi import structural_walk

    buffers: list[Any] = [
        parameter for parameter in function.params if hasattr(parameter.ty, "shape")
    ]
    numbers = [0]
    structural_walk(
        function.body,
        [
            (SBlock, lambda block: buffers.extend(block.alloc_buffers)),
            (IntImm, lambda number: numbers.append(abs(int(number)))),
        ],
    )
    return max(numbers) <= _LARGEST and all(
        str(buffer.dtype) != "int64"
        and all(isinstance(extent, IntImm) for extent in buffer.shape)
        and math.prod(int(extent) for extent in buffer.shape) <= _LARGEST
        for buffer in buffers
    )
