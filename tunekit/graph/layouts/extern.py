"""Kernels in C on blocked activations: those that take blocks are asked for their C once more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tunekit.extern_kernels.contract import KernelTensor
from tunekit.extern_kernels.function import emit_kernel, kernel_of
from tunekit.extern_kernels.kernel import ExternKernel
from tunekit.extern_kernels.registry import operator_of
from tunekit.graph.layouts.value import Value
from tunekit.graph.layouts.values import LayoutValues
from tunekit.ir.relax import bindings_of, operator_name, static_shape

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import Call, Expr

_CONVOLUTIONS = ("nn.conv2d", "nn.conv2d_transpose")


class ExternCalls:
    """The rule of kernels in C: blocks where what they read has them, or a convolution reads
    what they give."""

    def __init__(self, module: IRModule) -> None:
        """`module` has the functions that are called."""
        self._module = module
        self._wanted = _read_by_convolutions(module)

    def rule(self, values: LayoutValues, call: Call, result: Value) -> bool:
        """Calls a kernel with what it can have in blocks; see `operators`."""
        kernel = kernel_of(self._module[call.args[0]])
        operator = None if kernel is None else operator_of(kernel.operator)
        if kernel is None or operator is None:
            return False
        inputs, arguments = [], []
        for number, (tensor, argument) in enumerate(
            zip(kernel.inputs, call.args[1].fields, strict=True)
        ):
            value = values.value(argument)
            form = value.blocked if number in operator.blocked_inputs else None
            block = 1 if form is None else (static_shape(form) or (1,))[-1]
            inputs.append(replace(tensor, block=block))
            arguments.append(values.plain(value) if form is None or block == 1 else form)
        wanted = self._wanted[call] & operator.blocked_outputs
        outputs = [
            _blocked(values, tensor) if number in wanted else tensor
            for number, tensor in enumerate(kernel.outputs)
        ]
        if (*inputs, *outputs) == (*kernel.inputs, *kernel.outputs):
            return False
        blocked = ExternKernel.of(operator, inputs, outputs, kernel.attributes)
        results = emit_kernel(values.builder, blocked, arguments)
        _give(result, outputs, results, is_tuple=len(kernel.written) > 1)
        return True


def _blocked(values: LayoutValues, tensor: KernelTensor) -> KernelTensor:
    blocks = values.blocks(tensor.shape[1])
    return replace(tensor, block=blocks.width) if blocks.exact else tensor


def _give(
    result: Value, outputs: Sequence[KernelTensor], forms: Sequence[Expr], *, is_tuple: bool
) -> None:
    given = [Value(tensor.shape) for tensor in outputs] if is_tuple else [result]
    for value, tensor, form in zip(given, outputs, forms, strict=True):
        if tensor.block == 1:
            value.plain = form
        else:
            value.blocked = form
    if is_tuple:
        result.fields = given


def _read_by_convolutions(module: IRModule) -> dict[Any, set[int]]:
    """By the call of a kernel, the numbers of its results that convolutions read."""
    from tvm import relax

    calls: dict[Any, tuple[Call, int]] = {}
    wanted: dict[Any, set[int]] = defaultdict(set)
    for variable, value in bindings_of(module["main"]) or ():
        name = operator_name(value)
        if name == "call_tir":
            calls[variable] = (value, 0)
        elif isinstance(value, relax.TupleGetItem) and value.tuple_value in calls:
            calls[variable] = (calls[value.tuple_value][0], int(value.index))
        elif name in _CONVOLUTIONS and value.args[0] in calls:
            call, number = calls[value.args[0]]
            wanted[call].add(number)
    return wanted
