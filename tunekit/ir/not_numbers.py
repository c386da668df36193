"""NaN and infinity in kernels as every framework has them.

What TVM writes is right for finite numbers only:

- Its maximum is the first operand where that is larger, else the second. A comparison with NaN is
  false: with a constant second (ReLU, clip) NaN becomes the constant, with the constant first NaN
  stays. Either way it is one `maxps` on x86.
- Its `x == x` is true, its `!=` is false of NaN, and what it makes of `not x < y` is `y <= x`.
- The largest of many starts from the least finite number, so of infinities it is that number.

The kernels' own text, by which measurements are kept, stays as it is: this comes when they are
compiled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.tirx import BufferStore, Expr, Max, Min, PrimFunc


def keep_nan(module: IRModule) -> IRModule:
    """The module, its kernels right for NaN and infinity, but for NaN among what a running
    maximum or minimum sees."""
    from tvm import IRModule
    from tvm.tirx import PrimFunc

    functions = {
        variable: _kept(function) if isinstance(function, PrimFunc) else function
        for variable, function in module.functions_items()
    }
    return IRModule(functions, attrs=module.attrs)


def _kept(function: PrimFunc) -> PrimFunc:
    from tvm.tirx import EQ, NE, BufferStore, Max, Min, Not
    from tvm_ffi import structural_map

    starts = _running_extremes(function)

    def started(store: BufferStore) -> BufferStore:
        start = starts.get(store.buffer)
        if start is None or not _is_limit(store.value):
            return store
        return BufferStore(store.buffer, start, store.indices)

    body = structural_map(
        function.body,
        [
            ((Max, Min), _constant_first),
            ((EQ, NE), _compared),
            (Not, _negation),
            (BufferStore, started),
        ],
    )
    return function if body.same_as(function.body) else function.with_body(body)


def _constant_first(extreme: Max | Min) -> Expr:
    from tvm.tirx import FloatImm

    is_second = isinstance(extreme.b, FloatImm) and not isinstance(extreme.a, FloatImm)
    return type(extreme)(extreme.b, extreme.a) if is_second else extreme


def _compared(comparison: Any) -> Expr:
    from tvm.tirx import EQ, NE, isnan
    from tvm_ffi import structural_equal

    left, right = comparison.a, comparison.b
    if not _is_float(left):
        return comparison
    is_equal = EQ(left, right)
    if structural_equal(left, right):
        is_equal = _negated(isnan(left))
    elif isinstance(comparison, EQ):
        return comparison
    return _negated(is_equal) if isinstance(comparison, NE) else is_equal


def _negation(negation: Any) -> Expr:
    from tvm.ir.expr import TensorLoad
    from tvm.tirx import EQ, GE, GT, LE, LT

    operand = negation.a
    of_floats = isinstance(operand, EQ | GE | GT | LE | LT) and _is_float(operand.a)
    return _negated(operand) if of_floats or isinstance(operand, TensorLoad) else negation


def _negated(condition: Any) -> Expr:
    """As a number that is asked for 0: TVM turns a plain negation into the opposite comparison."""
    from tvm.tirx import EQ, Cast, const

    return EQ(Cast("int32", condition), const(0, "int32"))


def _is_float(value: Any) -> bool:
    return "float" in str(value.ty.dtype)


def _running_extremes(function: PrimFunc) -> dict[Any, Expr]:
    """Buffers that hold the largest or smallest so far, with what it is of nothing."""
    from tvm.ir.expr import TensorLoad
    from tvm.tirx import BufferStore, Max, Min, const
    from tvm_ffi import structural_walk

    starts: dict[Any, Expr] = {}

    def look(store: BufferStore) -> None:
        value, dtype = store.value, str(store.buffer.dtype)
        if "float" not in dtype or not isinstance(value, Max | Min):
            return
        first = value.a
        if isinstance(first, TensorLoad) and first.source.same_as(store.buffer):
            worst = -math.inf if isinstance(value, Max) else math.inf
            starts[store.buffer] = const(worst, dtype)

    structural_walk(function.body, (BufferStore, look))
    return starts


def _is_limit(value: Expr) -> bool:
    """Whether this is the least or the largest finite number of its dtype."""
    from tvm.tirx import FloatImm, max_value

    if not isinstance(value, FloatImm):
        return False
    return bool(abs(value.value) == max_value(str(value.ty.dtype)).value)
