"""Kernels that are skipped where a switch is zero (see `graph.switches`).

The switch becomes an argument, and all of a kernel is under a condition: TVM's virtual machine and
the standalone libraries call it as ever. This comes after schedules were looked up, so that a
task is the kernel without its condition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunekit.graph.switches import find_switches
from tunekit.ir.rewrite import rebuild, substitute

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.relax import BlockBuilder, Expr, Var
    from tvm.tirx import PrimFunc


SWITCHED = "_switched"
"""How the names of such kernels end."""


def guard(module: IRModule) -> IRModule:
    """The module, its kernels that need a switch skipped without it."""
    switches = find_switches(module)
    if not switches.needed:
        return module
    values: dict[Any, Expr] = {}
    given: dict[Any, Expr] = {}

    def lookup(variable: Var) -> Expr:
        return values.get(variable, variable)

    def emit(builder: BlockBuilder, variable: Var, value: Expr) -> None:
        from tvm import relax

        value = substitute(value, lookup)
        if variable in switches.needed:
            value = _guarded_call(builder, module, value, given[switches.needed[variable]])
        values[variable] = builder.emit(value, variable.name)
        if variable in switches.givers:
            index = switches.givers[variable].code.switch
            given[variable] = builder.emit(relax.TupleGetItem(values[variable], index))

    return rebuild(module, emit, lambda _, result: substitute(result, lookup))


def _guarded_call(builder: BlockBuilder, module: IRModule, call: Any, switch: Expr) -> Expr:
    from tvm import relax

    variable, arguments, *_ = call.args
    function = _guarded(module[variable], len(arguments.fields))
    added = builder.add_func(function, f"{variable.name_hint}{SWITCHED}")
    [type_] = call.ty_args
    types = list(type_.fields) if isinstance(type_, relax.TupleType) else [type_]
    return relax.call_tir(added, relax.Tuple([*arguments.fields, switch]), types)


def _guarded(function: PrimFunc, inputs: int) -> PrimFunc:
    """The function with a switch behind its inputs."""
    from tvm import tirx
    from tvm.s_tir import SBlock, SBlockRealize

    switch = tirx.decl_buffer((1,), "int32", name="switch")
    realize = function.body
    root = realize.block
    needed = tirx.IfThenElse(tirx.BufferLoad(switch, [0]) != 0, root.body, None)
    block = SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        needed,
        root.init,
        root.alloc_buffers,
        root.match_buffers,
        root.annotations,
    )
    params = list(function.params)
    guarded = tirx.PrimFunc(
        [*params[:inputs], switch, *params[inputs:]],
        SBlockRealize(realize.iter_values, realize.predicate, block),
        function.ret_type,
        function.attrs,
    )
    return guarded.without_attr("global_symbol")
