"""Imported modules on disk: the graph as JSON, its weights as arrays beside it.

TVM writes constants into its JSON as text, which takes ten seconds for a hundred megabytes; with
the constants as parameters the JSON is small, and the arrays are read as they lie.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

_GRAPH = "graph.json"
_CONSTANTS = "constants.npz"
_INLINE_BYTES = 256
_PREFIX = "tunekit_constant_"


def lift_constants(module: tvm.IRModule) -> tuple[tvm.IRModule, dict[str, Any]]:
    """The module with a parameter at the end of `main` for each constant that is large or has no
    elements, and their arrays by the names and in the order of those parameters."""
    lifter = _Lifter(module)
    main = module["main"]
    body = lifter.visit_expr(main.body)
    lifted = relax.Function(
        [*main.params, *lifter.parameters], body, main.ret_ty, main.is_pure, main.attrs
    )
    functions = {var: f for var, f in module.functions_items() if var.name_hint != "main"}
    return tvm.IRModule({**functions, "main": lifted}), lifter.arrays


def write_module(module: tvm.IRModule, folder: Path) -> None:
    """Write a Relax module, `main` and the kernels that it calls, with main's constants."""
    lifted, arrays = lift_constants(module)
    (folder / _GRAPH).write_text(tvm.ir.save_json(lifted), "utf-8")
    np.savez(folder / _CONSTANTS, allow_pickle=False, **arrays)


def read_module(folder: Path) -> tvm.IRModule:
    """The module that `write_module` wrote, structurally equal to it."""
    module = tvm.ir.load_json((folder / _GRAPH).read_text("utf-8"))
    with np.load(folder / _CONSTANTS, allow_pickle=False) as archive:
        constants = {name: tvm.runtime.tensor(archive[name]) for name in archive.files}
    return relax.transform.BindParams("main", constants)(module)


@relax.expr_functor.mutator
class _Lifter(relax.PyExprMutator):  # type: ignore[misc]
    """Puts a parameter in the place of each constant that is large or empty."""

    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.parameters: list[Any] = []
        self.arrays: dict[str, Any] = {}
        self._seen: dict[Any, Any] = {}

    def visit_generic_const_(self, op: Any) -> Any:
        array = op.value.numpy()
        # TVM cannot read back what has no elements.
        if 0 < array.nbytes <= _INLINE_BYTES:
            return op
        if op in self._seen:
            return self._seen[op]
        parameter = relax.Var(f"{_PREFIX}{len(self.parameters)}", op.ty)
        self.parameters.append(parameter)
        self.arrays[f"{_PREFIX}{len(self.arrays)}"] = array
        self._seen[op] = parameter
        return parameter
