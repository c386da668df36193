"""Kernels that move elements: chains of elementwise operators, broadcasts, layout changes, slices.

All steps are inlined into the last, so each element is loaded and stored once. The threads share
the outer loops, unless the kernel is so small that starting them takes longer; the innermost loop
is vectors, or stays a loop where its extent or its addresses are for LLVM's vectorizer to judge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tunekit.search.spaces.blocks import divisors, sample, thread_use, variants_of

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule

    from tunekit.target import ResolvedTarget


@dataclass(frozen=True)
class Elementwise:
    """A kernel without reductions.

    Attributes:
        output: name of its last block.
        extents: of that block's axes.
    """

    output: str
    extents: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Read and written, in float32, of a kernel with one input as large as its output."""
        return 8 * math.prod(self.extents)


def find_elementwise(module: IRModule) -> Elementwise | None:
    """The elements that a workload computes, None if it reduces or has several results."""
    from tvm.s_tir import Schedule
    from tvm.tirx import IntImm

    schedule = Schedule(module)
    outputs = []
    for child in schedule.get_child_blocks(schedule.get_sblock("root")):
        block = schedule.get(child)
        if any(int(axis.iter_type) != 0 for axis in block.iter_vars):
            return None
        if not all(isinstance(axis.dom.extent, IntImm) for axis in block.iter_vars):
            return None
        if not schedule.get_consumers(child):
            outputs.append(block)
    if len(outputs) != 1 or not outputs[0].writes[0].region:
        return None
    [block] = outputs
    extents = tuple(int(axis.dom.extent) for axis in block.iter_vars)
    return Elementwise(str(block.name_hint), extents)


def elementwise_designs(
    schedule: Schedule, anchor: Elementwise, target: ResolvedTarget
) -> list[Schedule]:
    """The structural variants: as vectors or left to LLVM, with threads and without; the best
    expected first."""
    return variants_of(
        schedule,
        (
            partial(_apply, kernel=anchor, target=target, vectors=vectors, shared=shared)
            for vectors in (True, False)
            for shared in thread_use(anchor.bytes)
        ),
    )


def _apply(
    schedule: Schedule,
    kernel: Elementwise,
    target: ResolvedTarget,
    *,
    vectors: bool,
    shared: bool,
) -> None:
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        if schedule.get_consumers(block):
            schedule.compute_inline(block)
    *outer, last = schedule.get_loops(schedule.get_sblock(kernel.output))
    if vectors:
        widths = divisors(kernel.extents[-1], 2 * max(target.vector_bits // 32, 4))
        width = sample(schedule, widths[::-1], ordered=True)
        last, lane = schedule.split(last, [None, width])
        schedule.vectorize(lane)
    if shared:
        schedule.parallel(schedule.fuse(*(outer or [last])))
