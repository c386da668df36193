"""Traces that were saved: fit to be replayed, and in the form that TVM can write as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.s_tir.schedule import Trace


def load_trace(text: str) -> Any:
    """A trace saved by `tvm.ir.save_json`, fit to be replayed.

    An instruction's kind holds the functions that carry it out, and those are not saved: a trace
    as `load_json` gives it calls a null pointer as soon as it is replayed or printed. So every
    instruction is made anew with the registered kind of its name.
    """
    import tvm
    from tvm.s_tir.schedule import Instruction, InstructionKind, Trace

    saved = tvm.ir.load_json(text)
    fresh = [
        Instruction(InstructionKind.get(old.kind.name), old.inputs, old.attrs, old.outputs)
        for old in saved.insts
    ]
    decisions = {
        new: saved.decisions[old]
        for old, new in zip(saved.insts, fresh, strict=True)
        if old in saved.decisions
    }
    return Trace(fresh, decisions)


def portable(trace: Trace) -> Trace:
    """The same schedule with every computed number worked out.

    A space may divide a sampled value (`split(loop, [None, code // 1000])`); such an input is an
    expression, which TVM's text form of traces has no place for. Its value follows from the
    decisions, so it is put there in its stead. What the decisions themselves are stays: but where
    one is changed later, the numbers worked out here no longer follow it.

    Raises:
        ValueError: an expression whose value does not follow from the decisions.
    """
    import tvm
    from tvm.s_tir.schedule import Instruction
    from tvm.s_tir.schedule import Trace as NewTrace

    analyzer = tvm.sym.Analyzer()
    instructions = []
    decisions = {}
    for old in trace.insts:
        decision = trace.decisions.get(old, None)
        _bind(analyzer, old, decision)
        new = Instruction(
            old.kind, [_value(analyzer, value) for value in old.inputs], old.attrs, old.outputs
        )
        instructions.append(new)
        if decision is not None:
            decisions[new] = decision
    return NewTrace(instructions, decisions)


def printed(module_json: str, trace_json: str) -> tuple[str, str]:
    """A saved workload and a saved trace of it as TVMScript and as Python statements."""
    from tunekit.machine.toolchain import require_tvm

    require_tvm()
    import tvm

    statements = portable(load_trace(trace_json)).as_python()
    return tvm.ir.load_json(module_json).script(), "\n".join(str(line) for line in statements)


def _bind(analyzer: Any, instruction: Any, decision: Any) -> None:
    """Tells the analyzer what a sampling instruction gave."""
    import tvm_ffi
    from tvm.tirx import Var, const

    if decision is None:
        return
    if instruction.kind.name == "SampleCategorical":
        sampled = [instruction.attrs[0][int(decision)]]
    elif isinstance(decision, tvm_ffi.Array):
        sampled = list(decision)
    else:
        return  # a place among loops, not a number
    for variable, value in zip(instruction.outputs, sampled, strict=True):
        if isinstance(variable, Var):
            analyzer.bind(variable, const(int(value), str(variable.ty.dtype)))


def _value(analyzer: Any, value: Any) -> Any:
    import tvm
    import tvm_ffi
    from tvm.tirx import FloatImm, IntImm, Var

    if isinstance(value, tvm_ffi.Array):
        return [_value(analyzer, part) for part in value]
    if not isinstance(value, tvm.ir.Expr) or isinstance(value, Var | IntImm | FloatImm):
        return value
    number = analyzer.simplify(value)
    if not isinstance(number, IntImm):
        raise ValueError(f"{value} does not follow from the trace's decisions")
    return number
