"""Products with weights whose columns fill no vectors, computed with zeros for further columns.

Weights are packed into panels when the model is compiled, which cannot add to them: those of 50,257
tokens were packed in every inference.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tunekit.ir.relax import constant_value, operator_name, static_shape
from tunekit.ir.rewrite import replace_calls

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr

    from tunekit.ir.rewrite import Replace

# Below it a product is done before another kernel has cut off its further columns.
_FEWEST_MULTIPLICATIONS = 1 << 20
# With fewer rows the weights are read once, and half a vector is as fast.
_ROWS = 16
_NARROWEST = 4
# The more of these that columns make up, the more widths of tiles divide them.
_VECTORS = (4, 2, 1)
_MOST_ADDED = 0.02


def pad_columns(module: IRModule, lanes: int) -> IRModule:
    """The module with such products as a wider one and a slice of it.

    Args:
        module: Relax module, weights bound as constants.
        lanes: fp32 lanes of the target's vector registers.
    """

    def replacement(value: Expr) -> Replace | None:
        further = _further(value, lanes)
        return (lambda builder, call: _wider(builder, call, further)) if further else None

    return replace_calls(module, replacement)


def _wider(builder: BlockBuilder, call: Any, further: int) -> Expr:
    import numpy as np
    from tvm import relax

    weights = constant_value(call.args[1])
    assert weights is not None
    columns = weights.shape[1]
    wide = relax.const(np.pad(weights, [(0, 0), (0, further)]), str(weights.dtype))
    product = builder.emit(relax.op.matmul(call.args[0], wide, call.attrs.out_dtype))
    return builder.emit(relax.op.strided_slice(product, [-1], [0], [columns], [1]))


def _further(value: Expr, lanes: int) -> int:
    """How many columns a product should have more; 0 for what is no such product."""
    if operator_name(value) != "matmul" or str(value.ty.dtype) != "float32":
        return 0
    weights, shape = static_shape(value.args[1]), static_shape(value.args[0])
    if weights is None or shape is None or len(weights) != 2 or len(shape) < 2:
        return 0
    rows, (steps, columns) = math.prod(shape[:-1]), weights
    enough = rows * steps * columns >= _FEWEST_MULTIPLICATIONS and columns >= lanes
    is_slow = columns % (lanes if rows >= _ROWS else _NARROWEST) > 0
    if not (enough and is_slow) or constant_value(value.args[1]) is None:
        return 0
    added = [-columns % (vectors * lanes) for vectors in _VECTORS]
    return next((number for number in added if number <= _MOST_ADDED * columns), added[-1])
