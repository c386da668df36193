"""Parallel loops whose threads help each other.

TVM's threads get equal parts of a parallel loop, and all wait for the one that is last: for half of
the loop where another process took a core meanwhile, or where one core is of a slower kind. Here
each thread takes its own part piece by piece, in order, so that a core finds in its caches what it
wrote for the kernel before, and then what is left of the others' parts.
`benchmarks/work_stealing.py` says what that gains.

Which piece is next of a part is a counter; taking one is an atomic addition, for which TVM's IR has
no operation but LLVM's has. What an iteration allocates is allocated once for a thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.machine.target import architecture_of

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.target import Target
    from tvm.tirx import For, PrimFunc, Stmt

# Pieces of one thread's part, at most: the last one to finish is late by one of them.
_PIECES = 32
# The loop is counted in int32, times the threads.
_LARGEST = 2**31 - 1
# A counter has a cache line for itself.
_LINE_INTS = 16
# LLVM's atomic addition needs no library there.
_ARCHITECTURES = ("x86_64", "aarch64")
_TAKE = "tunekit_take"
_TAKE_LLVM = f"""\
define i32 @{_TAKE}(ptr %counter) {{
  %piece = atomicrmw add ptr %counter, i32 1 monotonic
  ret i32 %piece
}}
"""
# Marks an allocation that stays where it is: on the stack.
_ON_STACK = "disable_lower_builtin"


def steal_work(module: IRModule) -> IRModule:
    """The module, its lowered functions for CPUs with parallel loops as above.

    Args:
        module: functions as TVM's pipeline leaves them, before builtins are lowered. Their target
            says for how many cores; a loop that has no more iterations, or whose iterations
            allocate what depends on variables, stays as it is.
    """
    from tvm import IRModule
    from tvm.tirx import PrimFunc

    changed = {
        variable: _steal(function) if isinstance(function, PrimFunc) else function
        for variable, function in module.functions_items()
    }
    return IRModule(changed, attrs=module.attrs)


def _steal(function: PrimFunc) -> PrimFunc:
    from tvm.tirx import AttrStmt, For, const
    from tvm_ffi import structural_map

    threads = _threads(function.attrs.get("target") if function.attrs else None)
    if threads < 2:
        return function
    body = structural_map(function.body, (For, lambda loop: _balanced(loop, threads)))
    if body.same_as(function.body):
        return function
    return function.with_body(AttrStmt(const(0), "pragma_import_llvm", _TAKE_LLVM, body))


def _threads(target: Target | None) -> int:
    """How many threads are to share a loop, 1 where they cannot."""
    if target is None or target.kind.name != "llvm":
        return 1
    if architecture_of(str(target.attrs.get("mtriple", ""))) not in _ARCHITECTURES:
        return 1
    return int(target.attrs.get("num-cores") or 1)


def _balanced(loop: For, threads: int) -> Stmt:
    from tvm import tirx
    from tvm.tirx import ForKind, IntImm, SeqStmt

    if loop.kind != ForKind.PARALLEL or not isinstance(loop.extent, IntImm):
        return loop
    extent = int(loop.extent)
    if not threads < extent <= _LARGEST // threads:
        return loop
    allocations, body = _without_allocations(loop.body)
    if body is None:
        return loop
    thread, step, part = (tirx.Var(name, "int32") for name in ("thread", "step", "part"))
    counters = tirx.decl_buffer((threads * _LINE_INTS,), "int32", name="counters")
    state = tirx.decl_buffer((1,), "int32", name="state")

    # Of two to some power, so that it costs nothing to see where a piece ends.
    length = 1 << max(0, (extent // (threads * _PIECES)).bit_length() - 1)
    first = tirx.floordiv(part * extent, threads)
    count = tirx.floordiv((part + 1) * extent, threads) - first
    counter = tirx.address_of(tirx.BufferLoad(counters, [part * _LINE_INTS]))
    piece = tirx.call_extern("int32", _TAKE, counter)
    now = tirx.BufferLoad(state, [0])
    take: Stmt = tirx.BufferStore(state, piece * length, [0])
    further = take
    if length > 1:
        # Not a loop over the piece's iterations: within another loop LLVM makes less of the body.
        step_on = tirx.BufferStore(state, now + 1, [0])
        ended = tirx.floormod(now, length) == 0
        further = SeqStmt([step_on, tirx.IfThenElse(ended, take, None)])
    dtype = loop.loop_var.ty.dtype
    index = first + now if dtype == "int32" else tirx.Cast(dtype, first + now)
    iteration = SeqStmt([tirx.Bind(loop.loop_var, loop.min + index), body, further])
    # A thread's own part comes first, then those of the threads after it.
    wrapped = tirx.if_then_else(thread + step < threads, thread + step, thread + step - threads)
    one_part = SeqStmt([tirx.Bind(part, wrapped), take, tirx.While(now < count, iteration)])
    all_parts = tirx.For(step, 0, threads, ForKind.SERIAL, one_part)
    on_stack = {_ON_STACK: tirx.const(1)}
    life = SeqStmt([tirx.AllocBuffer(state, on_stack), *allocations, all_parts])
    return SeqStmt(
        [
            tirx.AllocBuffer(counters, on_stack),
            *(
                tirx.BufferStore(counters, tirx.const(0), [thread_index * _LINE_INTS])
                for thread_index in range(threads)
            ),
            tirx.For(thread, 0, threads, ForKind.PARALLEL, life),
        ]
    )


def _without_allocations(body: Stmt) -> tuple[list[Stmt], Stmt | None]:
    """What a loop's body allocates, and the body without; None where it cannot be had without."""
    from tvm.tirx import AllocBuffer, Evaluate, For, ForKind, IntImm, const
    from tvm_ffi import structural_map, structural_walk

    allocations: list[Stmt] = []
    fixed = True

    def look(node: AllocBuffer | For) -> None:
        nonlocal fixed
        if isinstance(node, For):
            fixed = fixed and node.kind != ForKind.PARALLEL
        else:
            fixed = fixed and all(isinstance(extent, IntImm) for extent in node.buffer.shape)

    def remove(node: AllocBuffer) -> Stmt:
        allocations.append(node)
        return Evaluate(const(0))

    structural_walk(body, [((AllocBuffer, For), look)])
    if not fixed:
        return [], None
    return allocations, structural_map(body, (AllocBuffer, remove))
