"""Computing a block where it is read, as long as that does not make it grow without bounds.

Each place that reads a block gets all that the block computes. In a chain whose steps read the one
before twice (x * sigmoid(x), a step of an LSTM) that doubles with every step: sixteen steps take
minutes to compile, and compute the first of them 65,536 times.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.s_tir import SBlock, Schedule
    from tvm.s_tir.schedule import SBlockRV

# Times, beyond the first of each, that an expression may load the same tensors. The polynomial of
# an exponential does so 17 times, a GELU of a convolution's sum with bias and residual 200 times.
_MOST_REPEATED = 512
# What LLVM makes of a call of one of these is as much as so many loads.
_CALL_LOADS = 32
_FUNCTIONS = frozenset({"exp", "log", "pow", "tanh", "sigmoid", "erf", "sin", "cos", "tan"})


class TooMuchInlinedError(RuntimeError):
    """A block that is read where inlining it would make an expression of more than that."""


def inline(schedule: Schedule, block: SBlockRV) -> None:
    """Inlines a block into all that read it.

    Raises:
        TooMuchInlinedError: what reads it would load too many values.
        ScheduleError: it cannot be inlined.
    """
    if not can_be_inlined(schedule, block):
        raise TooMuchInlinedError
    schedule.compute_inline(block)


def can_be_inlined(schedule: Schedule, block: SBlockRV) -> bool:
    """Whether what reads a block stays small with the block inside of it."""
    node = schedule.get(block)
    written = node.writes[0].source
    own = _loads(node)
    for consumer in schedule.get_consumers(block):
        loads = _loads(schedule.get(consumer))
        inlined = Counter({source: count for source, count in loads.items() if source != written})
        for source, count in own.items():
            inlined[source] += loads[written] * count
        repeated = _repeated(inlined)
        if repeated > max(_MOST_REPEATED, _repeated(own), _repeated(loads)):
            return False
    return True


def _loads(node: SBlock) -> Counter[Any]:
    """How often a block's value loads each tensor; calls of functions as loads of their name."""
    from tvm.ir import Call
    from tvm.ir.expr import TensorLoad
    from tvm_ffi import structural_walk

    sources: Counter[Any] = Counter()

    def note(call: Call) -> None:
        name = str(getattr(call.op, "name", "")).rpartition(".")[2]
        if name in _FUNCTIONS:
            sources[name] += _CALL_LOADS

    structural_walk(
        node.body, [(TensorLoad, lambda load: sources.update([load.source])), (Call, note)]
    )
    return sources


def _repeated(loads: Counter[Any]) -> int:
    return loads.total() - len(loads)
