"""Which operators are written out in fewer ones before they are converted.

torch knows how to decompose most of its operators. Those that have a converter stay whole; for
some that torch keeps whole there is a decomposition in `decompositions`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._decomp import decomposition_table
from torch.export import ExportedProgram

from tunekit.torch_frontend.table import COMPLEX_CONVERTERS, CONVERTERS, DECOMPOSITIONS


def decomposed(program: ExportedProgram) -> ExportedProgram:
    """The program in operators that have converters, as far as there are decompositions.

    An operator with a converter stays whole: what it would be decomposed into is harder to lay
    out and to schedule (silu as two operators, a pooling as a mean).
    """
    # torch's own table of operators, which carries no types.
    table: Any = torch.export.default_decompositions()
    for operator, decomposition in decomposition_table.items():
        if operator not in table and isinstance(operator, torch._ops.OpOverload):
            table[operator] = decomposition
    for operator in list(table.keys()):
        name = str(operator).removeprefix("aten.")
        if name in CONVERTERS or name in COMPLEX_CONVERTERS:
            table.pop(operator)
    for name, decomposition in DECOMPOSITIONS.items():
        operator = _operator(name)
        if operator is not None:
            table[operator] = decomposition
    result: ExportedProgram = program.run_decompositions(table)
    return result


def _operator(name: str) -> Any:
    """The operator of a name, None where its package is not loaded."""
    *spaces, packet, overload = name.split(".")
    space = getattr(torch.ops, spaces[0] if spaces else "aten")
    return getattr(getattr(space, packet), overload) if hasattr(space, packet) else None
