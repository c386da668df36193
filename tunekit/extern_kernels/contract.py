"""What an operator written in C gives, and what it is asked with.

To the graph, such an operator is one kernel: it reads tensors, and writes each of its outputs
whole. What it does in between is C, compiled with the library for the library's CPU. It keeps no
state, takes no memory but its workspace, and calls nothing but C's mathematics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class KernelTensor:
    """A tensor as C sees it.

    Attributes:
        shape: its sizes; (N, C, H, W) also where it is in blocks.
        dtype: in numpy's names.
        block: 1 of a plain tensor. Else 4, 8 or 16: axis 1 is cut in blocks of so many, which lie
            along a last axis (NCHW8c). Where it is no multiple, the lanes behind the last channel
            of an input are of no meaning.
    """

    shape: tuple[int, ...]
    dtype: str
    block: int = 1

    @property
    def stored(self) -> tuple[int, ...]:
        """Its sizes in memory: (N, C/block, H, W, block) in blocks."""
        if self.block == 1:
            return self.shape
        batch, channels, *places = self.shape
        return (batch, -(-channels // self.block), *places, self.block)

    @property
    def elements(self) -> int:
        """How many it has in memory."""
        return math.prod(self.stored)


@dataclass(frozen=True)
class Phase:
    """A step of a kernel; the next one begins when it has ended.

    Attributes:
        body: C statements. They may use `in0`, `in1`, ... and `out0`, `out1`, ..., pointers to
            elements, those of inputs const; `workspace`, a `uint8_t *` aligned to 64 bytes; and
            the `int32_t` numbers `task` and `tasks`.
        tasks: how often it runs, with `task` from 0 on, in any order and on several threads.
    """

    body: str
    tasks: int = 1


@dataclass(frozen=True)
class ExternCode:
    """A kernel in C.

    Attributes:
        phases: one after another.
        headers: files of `extern_kernels/c` that the phases include.
        sources: files of `extern_kernels/c` that are linked with them.
        workspace_bytes: memory that it needs while it runs, shared by its phases.
        switch: the number of an output, `int32` of one element, that is zero where the other
            outputs hold nothing. What depends on them alone is not computed then.
        chance: in which share of the runs the switch is expected to be other than zero.
        collects: it knows by itself which of its inputs hold something, and reads no others.
    """

    phases: tuple[Phase, ...]
    headers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    workspace_bytes: int = 0
    switch: int | None = None
    chance: float = 1.0
    collects: bool = False


class ExternOperator(Protocol):
    """An operator in C, under the name that it has in `torch.ops.tunekit`."""

    @property
    def name(self) -> str:
        """As in `torch.ops.tunekit`."""

    @property
    def blocked_inputs(self) -> frozenset[int]:
        """The numbers of the inputs that its C takes in blocks, too."""

    @property
    def blocked_outputs(self) -> frozenset[int]:
        """The numbers of the outputs that its C can give in blocks."""

    def code(
        self,
        inputs: Sequence[KernelTensor],
        outputs: Sequence[KernelTensor],
        attributes: Mapping[str, object],
    ) -> ExternCode:
        """The kernel for tensors of these sizes; the same for the same arguments.

        Args:
            inputs: its tensors, lists flattened, in the order of its schema.
            outputs: likewise.
            attributes: its other arguments by name; of a list of tensors, how many they are, and
                None of a tensor that was left out.
        """
