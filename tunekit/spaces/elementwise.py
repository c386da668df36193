"""Kernels that move elements: chains of elementwise operators, broadcasts, layout changes, slices.

All steps are inlined into the last, so each element is loaded and stored once; but a step that
reads the one before several times, as activations do, multiplies it each time: what grows too large
is kept for a vector, in registers, or for a row. The threads share the outer loops, unless the
kernel is so small that starting them takes longer; the innermost loop is vectors, or stays a loop
where its extent or its addresses are for LLVM's vectorizer to judge.

In a concatenation the position along one axis says which tensor an element comes from. DenseNet-121
joins up to 25, and asking for each element takes longer than moving it: the loop along that axis is
cut into one for each tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tunekit.ir.tir import Block, Kernel, blocks_of
from tunekit.spaces.inlining import TooMuchInlinedError, can_be_inlined
from tunekit.spaces.register_tiles import PARTITION
from tunekit.spaces.sampling import divisors, sample, thread_use, variants_of

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import LoopRV, SBlockRV

    from tunekit.machine.target import ResolvedTarget


@dataclass(frozen=True)
class Elementwise:
    """A kernel without reductions.

    Attributes:
        output: name of its last block.
        extents: of that block's axes.
        joined: the axis along which several tensors are put together, None where none are.
    """

    output: str
    extents: tuple[int, ...]
    joined: int | None = None

    @property
    def bytes(self) -> int:
        """Read and written, in float32, of a kernel with one input as large as its output."""
        return 8 * math.prod(self.extents)


def find_elementwise(module: IRModule) -> Elementwise | None:
    """The elements that a workload computes, None if it reduces or has several results."""
    kernel = Kernel.of(module)
    if kernel.reducing:
        return None
    outputs = [block for block in kernel.blocks if not kernel.consumers(block)]
    if len(outputs) != 1 or not outputs[0].node.writes[0].region:
        return None
    [output] = outputs
    choosing = (_choosing_axis(b) for b in kernel.blocks if b.extents == output.extents)
    joined = [axis for axis in choosing if axis is not None]
    return Elementwise(output.name, output.extents, joined[0] if len(joined) == 1 else None)


def _choosing_axis(block: Block) -> int | None:
    """The axis, not the last, that alone decides between the values that a block chooses from."""
    from tvm.ir import Call, Op
    from tvm.tirx import Var
    from tvm_ffi import structural_walk

    axes = [axis.var for axis in block.axes]
    deciding: set[int] = set()

    def note(call: Any) -> None:
        if call.op.same_as(Op.get("prim.if_then_else")):
            structural_walk(call.args[0], (Var, note_axis))

    def note_axis(var: Any) -> None:
        deciding.update(index for index, axis in enumerate(axes) if axis.same_as(var))

    structural_walk(block.node.body, (Call, note))
    return deciding.pop() if len(deciding) == 1 and len(axes) - 1 not in deciding else None


def elementwise_designs(
    schedule: Schedule, anchor: Elementwise, target: ResolvedTarget
) -> list[Schedule]:
    """The structural variants: cut where tensors meet or not, as vectors or left to LLVM, with
    threads and without; the best expected first."""
    return variants_of(
        schedule,
        (
            partial(
                _apply, kernel=anchor, target=target, cut=cut, vectors=vectors, parallel=parallel
            )
            for cut in ((False,) if anchor.joined is None else (True, False))
            for vectors in (True, False)
            for parallel in thread_use(anchor.bytes)
        ),
    )


def _apply(
    schedule: Schedule,
    kernel: Elementwise,
    target: ResolvedTarget,
    *,
    cut: bool,
    vectors: bool,
    parallel: bool,
) -> None:
    kept = _inline_what_stays_small(schedule)
    if kept and cut:
        raise TooMuchInlinedError
    *outer, last = schedule.get_loops(schedule.get_sblock(kernel.output))
    if vectors:
        widths = divisors(kernel.extents[-1], 2 * target.f32_lanes)
        width = sample(schedule, widths[::-1], ordered=True)
        last, lane = schedule.split(last, [None, width])
        schedule.vectorize(lane)
    if cut:
        outer = _cut(schedule, kernel, outer, target.cores)
    shared = outer or [last]
    if parallel or kept:
        shared = [schedule.fuse(*shared)]
    if parallel:
        schedule.parallel(shared[0])
    # A vector at a time where there are vectors, in registers, and else a row at a time.
    _keep_near(schedule, kept, last if vectors else shared[0], vectors=vectors)


def _inline_what_stays_small(schedule: Schedule) -> list[SBlockRV]:
    """Inlines each block into what reads it; those that would make it too large, in order."""
    kept = []
    for block in blocks_of(schedule):
        if not schedule.get_consumers(block):
            continue
        if can_be_inlined(schedule, block):
            schedule.compute_inline(block)
        else:
            kept.append(block)
    return kept


def _keep_near(
    schedule: Schedule, kept: Sequence[SBlockRV], loop: LoopRV, *, vectors: bool
) -> None:
    """Computes blocks in a loop of what reads them."""
    for block in reversed(kept):
        schedule.compute_at(block, loop, preserve_unit_loops=True)
        if vectors:
            schedule.set_scope(block, 0, "local")
            schedule.vectorize(schedule.get_loops(block)[-1])


def _cut(schedule: Schedule, kernel: Elementwise, outer: list[LoopRV], cores: int) -> list[LoopRV]:
    """Cuts the loop along which tensors are joined; those that are left outside of it."""
    assert kernel.joined is not None
    joined = outer[kernel.joined]
    others = [
        (loop, kernel.extents[index]) for index, loop in enumerate(outer) if index != kernel.joined
    ]
    # One stays inside, for memory to be read in its order, if the others are enough to share.
    enough = math.prod(extent for _, extent in others[:-1]) >= cores
    inside = [others.pop()[0]] if enough else []
    schedule.reorder(*(loop for loop, _ in others), joined, *inside)
    schedule.annotate(joined, PARTITION, 1)
    return [loop for loop, _ in others]
