"""Each attention of a model as one kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tunekit.graph.attention.matching import NUMBERS, STEPS, Bindings, Match, Step, number_of
from tunekit.graph.attention.sources import Indices, Source, broadcast_indices
from tunekit.graph.kernels.attention import Readers, attention
from tunekit.graph.layouts.moved import unreshaped
from tunekit.ir.relax import bindings_of, operator_name, result_of, static_shape
from tunekit.ir.rewrite import rebuild, substitute

if TYPE_CHECKING:
    from tvm import te
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr, Var

# relax.OpPatternKind.kOpaque: nothing joins.
_OPAQUE = 8


def fuse_attention(module: IRModule, lanes: int) -> IRModule:
    """The module with each attention in float32 as one kernel.

    Args:
        module: a model in Relax.
        lanes: fp32 lanes of the target's vector registers.
    """
    pairs = bindings_of(module["main"])
    if pairs is None or not any(operator_name(value) == "nn.softmax" for _, value in pairs):
        return module
    matches = Bindings(pairs, result_of(module["main"])).matches()
    if not matches:
        return module
    known: dict[Any, Expr] = {parameter: parameter for parameter in module["main"].params}

    def emit(builder: BlockBuilder, var: Var, value: Expr) -> None:
        match = matches.get(var)
        if match is None:
            known[var] = builder.emit(substitute(value, known.__getitem__), var.name)
        else:
            known[var] = _emitted(builder, match, known, lanes)

    return rebuild(module, emit, lambda _, result: substitute(result, known.__getitem__))


def _emitted(builder: BlockBuilder, match: Match, known: dict[Any, Expr], lanes: int) -> Expr:
    """The kernel of an attention, and its result in the shape of the model."""
    from tvm import relax

    operands = [
        operand
        for step in match.steps
        for operand in step.operands
        if operand is not None and number_of(operand) is None
    ]
    tensors: list[Expr] = []
    for expr in (match.query.expr, match.key.expr, match.value.expr, *operands):
        if not any(expr.same_as(other) for other in tensors):
            tensors.append(expr)

    def compute(*arguments: te.Tensor) -> te.Tensor:
        def tensor_of(expr: Expr) -> te.Tensor:
            [tensor] = [
                argument
                for argument, other in zip(arguments, tensors, strict=True)
                if other.same_as(expr)
            ]
            return tensor

        factor = match.query.factor * match.key.factor
        return attention(
            match.shape, _readers(match, tensor_of), lanes, factor, joined=match.joined
        )

    result = builder.emit(
        builder.call_te(
            compute,
            *(substitute(expr, known.__getitem__) for expr in tensors),
            primfunc_name_hint="attention",
            primfunc_attrs={"op_pattern": _OPAQUE},
        )
    )
    if static_shape(result) == match.result:
        return result
    return builder.emit(relax.op.reshape(result, relax.ShapeExpr(list(match.result))))


def _readers(match: Match, tensor_of: Callable[[Expr], te.Tensor]) -> Readers:
    """What the kernel reads, of the tensors of its arguments."""
    from tvm import tirx

    def element(source: Source, indices: Indices) -> Any:
        return tensor_of(source.expr)[tuple(source.place(indices))]

    def value_of(operand: Expr, indices: Indices) -> Any:
        number = number_of(operand)
        if number is not None:
            return tirx.const(number, str(operand.ty.dtype))
        shape = static_shape(operand) or ()
        return tensor_of(operand)[tuple(broadcast_indices(indices, shape))]

    def walked(indices: Indices) -> list[tuple[Step, Indices]]:
        """The steps, each with the indices of a score in its shape."""
        shape: tuple[int, ...] = (*match.shape.batch, match.shape.queries, match.shape.keys)
        steps: list[tuple[Step, Indices]] = []
        for step in match.steps:
            indices = unreshaped(indices, shape, step.shape)
            shape = step.shape
            steps.append((step, indices))
        return steps

    def scores(score: Any, indices: Indices) -> Any:
        for step, own in walked(indices):
            if step.name in STEPS:
                operands = [
                    score if operand is None else value_of(operand, own)
                    for operand in step.operands
                ]
                score = STEPS[step.name](*operands)
        return score

    def allowed(indices: Indices) -> Any:
        conditions = [
            value_of(step.operands[0], own)
            for step, own in walked(indices)
            if step.name == "allowed" and step.operands[0] is not None
        ]
        return conditions[0] if len(conditions) == 1 else tirx.all(*conditions)

    names = {step.name for step in match.steps}
    drops = "allowed" in names
    return Readers(
        query=lambda indices: element(match.query, indices),
        key=lambda indices: element(match.key, [*indices[:-2], indices[-1], indices[-2]]),
        value=lambda indices: element(match.value, indices),
        scores=scores,
        allowed=allowed if drops else None,
        unseeing=0.0 if drops or NUMBERS in names else math.nan,
    )
