"""Sorts of a model as kernels in C."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from tunekit.extern_kernels.contract import KernelTensor
from tunekit.extern_kernels.function import emit_kernel
from tunekit.extern_kernels.glue import is_in_c
from tunekit.extern_kernels.kernel import ExternKernel
from tunekit.extern_kernels.sorting import RowsSorted
from tunekit.ir.relax import operator_name, static_shape
from tunekit.ir.rewrite import replace_calls

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr

_SORTS = ("argsort", "sort", "topk")
_PLACES = ("int32", "int64")
_BOTH = "both"


def sort_in_c(module: IRModule) -> IRModule:
    """The module with each sort as a kernel in C, which needs nothing of TVM's runtime."""
    return replace_calls(module, lambda value: _emitted if _sorts(value) else None)


def _sorts(value: Expr) -> bool:
    """Whether it is a sort that C has."""
    if operator_name(value) not in _SORTS:
        return False
    shape = static_shape(value.args[0])
    if not shape or 0 in shape or not is_in_c(str(value.args[0].ty.dtype)):
        return False
    return operator_name(value) == "sort" or str(value.attrs.dtype) in _PLACES


def _emitted(builder: BlockBuilder, call: Any) -> Expr:
    """The kernel, with the axis that is sorted along as the last one."""
    from tvm import relax

    [data] = call.args
    operator, shape = operator_name(call), list(static_shape(data) or ())
    axis = int(call.attrs.axis) % len(shape)
    count = shape[axis]
    order = [*(other for other in range(len(shape)) if other != axis), axis]
    outer = [shape[other] for other in order[:-1]]
    dtype = str(data.ty.dtype)
    most, descending, written = count, False, [dtype]
    if operator == "topk":
        most = min(int(call.attrs.k), count) if int(call.attrs.k) > 0 else count
        descending, written = bool(call.attrs.largest), [dtype, str(call.attrs.dtype)]
    else:
        descending = bool(call.attrs.descending)
        written = [dtype, "int32"] if operator == "sort" else [str(call.attrs.dtype)]
    rows = prod(outer)
    kernel = ExternKernel.of(
        RowsSorted(),
        [KernelTensor((rows, count), dtype)],
        [KernelTensor((rows, most), kind) for kind in written],
        {"descending": descending},
    )
    moved = data if axis == len(shape) - 1 else builder.emit(relax.op.permute_dims(data, order))
    flat = builder.emit(relax.op.reshape(moved, (rows, count)))
    inverse = [order.index(other) for other in range(len(shape))]

    def placed(result: Expr) -> Expr:
        whole = builder.emit(relax.op.reshape(result, (*outer, most)))
        if axis == len(shape) - 1:
            return whole
        return builder.emit(relax.op.permute_dims(whole, inverse))

    results = [placed(result) for result in emit_kernel(builder, kernel, [flat])]
    if operator != "topk":
        return results[0]
    wanted = str(call.attrs.ret_type)
    if wanted == _BOTH:
        return builder.emit(relax.Tuple(results))
    return results[0] if wanted == "values" else results[1]
