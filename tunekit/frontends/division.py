"""Division as the frameworks have it, also by a constant zero, which TVM refuses to compile."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tunekit.ir.relax import constant_value


def divided(x: Any, y: Any) -> Any:
    """The quotient; of floats by zero infinity, or NaN."""
    divisor = constant_value(y)
    if divisor is None or divisor.dtype.kind != "f" or divisor.size != 1 or divisor.any():
        return relax.op.divide(x, y)
    infinity = np.copysign(np.full_like(divisor, np.inf), divisor)
    return relax.op.multiply(x, relax.const(infinity, str(divisor.dtype)))
