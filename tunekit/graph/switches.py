"""Kernels that a run need not compute: what they work on may hold nothing, and a switch says so.

A kernel in C that gives a switch (`ExternCode.switch`) fills its other outputs only where that is
not zero. Where it is zero, what is computed from these alone is of no use, as long as it ends in
kernels that know by themselves what there is (`ExternCode.collects`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.extern_kernels.function import kernel_of
from tunekit.extern_kernels.kernel import ExternKernel
from tunekit.ir.relax import bindings_of, operator_name, result_of

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import Expr


@dataclass(frozen=True)
class Switches:
    """Attributes:
    givers: the kernels that give switches, by the variables of their calls.
    needed: by the variable of a call that is of use only with a switch, the variable of the call
        that gives this.
    """

    givers: Mapping[Any, ExternKernel]
    needed: Mapping[Any, Any]

    def unlikely_calls(self, module: IRModule) -> dict[str, float]:
        """By the name of a function, how many of its calls a run is expected not to make."""
        unlikely: dict[str, float] = defaultdict(float)
        for variable, value in bindings_of(module["main"]) or ():
            if variable in self.needed:
                chance = self.givers[self.needed[variable]].code.chance
                unlikely[str(value.args[0].name_hint)] += 1 - chance
        return unlikely


def find_switches(module: IRModule) -> Switches:
    """The switches of a module's `main`, and the calls that need one."""
    givers: dict[Any, ExternKernel] = {}
    # By its variable, whose switches a value depends on.
    dependence: dict[Any, frozenset[Any]] = {}
    needed: dict[Any, Any] = {}
    mixed: set[Any] = set()
    for variable, value in bindings_of(module["main"]) or ():
        kernel = _kernel(module, value)
        on = _dependence(value, dependence, givers)
        if kernel is not None and kernel.code.collects:
            continue
        if kernel is not None and kernel.code.switch is not None:
            mixed |= on
            givers[variable] = kernel
            dependence[variable] = frozenset([variable])
            continue
        dependence[variable] = on
        if len(on) > 1:
            mixed |= on
        elif on and operator_name(value) == "call_tir" and not _is_reshape(module, value):
            [needed[variable]] = on
    mixed |= _dependence(result_of(module["main"]), dependence, givers)
    return Switches(givers, {call: giver for call, giver in needed.items() if giver not in mixed})


def _dependence(
    value: Expr, dependence: Mapping[Any, frozenset[Any]], givers: Mapping[Any, ExternKernel]
) -> frozenset[Any]:
    from tvm import relax

    if isinstance(value, relax.TupleGetItem) and value.tuple_value in givers:
        giver = value.tuple_value
        return frozenset() if value.index == givers[giver].code.switch else frozenset([giver])
    found: frozenset[Any] = frozenset()
    return found.union(
        *(dependence.get(variable, found) for variable in relax.analysis.free_vars(value))
    )


def _kernel(module: IRModule, value: Expr) -> ExternKernel | None:
    return kernel_of(module[value.args[0]]) if operator_name(value) == "call_tir" else None


def _is_reshape(module: IRModule, call: Any) -> bool:
    """Whether a kernel becomes a view, which costs nothing."""
    from tvm.relax.analysis import has_reshape_pattern

    return bool(has_reshape_pattern(module[call.args[0]]))
