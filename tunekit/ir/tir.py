"""Reading TIR kernels: their blocks in program order, and what the axes of each are.

What a block computes is not said here; the recognisers of `spaces/` and `graph/operation` do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import SBlockRV
    from tvm.tirx import PrimFunc, SBlock, Var

_Item = TypeVar("_Item")

Role = Literal["spatial", "reduced", "other"]


@dataclass(frozen=True, eq=False)
class Axis:
    """An axis of a block.

    Attributes:
        var: its variable.
        extent: None where it is symbolic.
        role: spatial axes say where a block writes and may run in any order; it sums, or takes
            the largest, over reduced ones; what runs in an order of its own has others.
    """

    var: Var
    extent: int | None
    role: Role


@dataclass(frozen=True, eq=False)
class Block:
    """A block of a kernel.

    Attributes:
        node: TVM's own.
        axes: in order.
    """

    node: SBlock
    axes: tuple[Axis, ...]

    @classmethod
    def of(cls, node: SBlock) -> Block:
        """Reads TVM's block."""
        return cls(node, tuple(_axis(variable) for variable in node.iter_vars))

    @property
    def name(self) -> str:
        """The block's name, of which a kernel has no second."""
        return str(self.node.name_hint)

    @property
    def annotations(self) -> Mapping[str, Any]:
        """The block's annotations."""
        return self.node.annotations or {}

    @property
    def roles(self) -> tuple[Role, ...]:
        """Of each axis."""
        return tuple(axis.role for axis in self.axes)

    @property
    def opaque(self) -> bool:
        """Whether it does what its axes do not tell: it has loops of its own, or calls what was
        compiled elsewhere."""
        from tvm.tirx import Evaluate, For, While
        from tvm_ffi import structural_walk

        inside: list[Any] = []
        structural_walk(self.node.body, [((Evaluate, For, While), inside.append)])
        return bool(inside)

    @property
    def reduces(self) -> bool:
        """Whether not all axes are spatial."""
        return any(axis.role != "spatial" for axis in self.axes)

    @property
    def static(self) -> bool:
        """Whether the extents of all axes are constants."""
        return all(axis.extent is not None for axis in self.axes)

    @property
    def extents(self) -> tuple[int, ...]:
        """Of all axes of a static block."""
        return _extents(self.axes)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Extents of the spatial axes of a static block."""
        return _extents(axis for axis in self.axes if axis.role == "spatial")

    @property
    def reduced(self) -> tuple[int, ...]:
        """Extents of the reduced axes of a static block."""
        return _extents(axis for axis in self.axes if axis.role == "reduced")

    @property
    def dimensions_read(self) -> list[int]:
        """Of the tensors that it reads, in ascending order."""
        of_source = {str(read.source): len(read.region) for read in self.node.reads}
        return sorted(of_source.values())

    def divide(self, items: Sequence[_Item]) -> tuple[list[_Item], list[_Item]]:
        """Those of the spatial axes and those of the reduced ones, of `items` with one for each
        axis: the axes themselves, or the loops around the block."""
        pairs = list(zip(items, self.roles, strict=True))
        spatial = [item for item, role in pairs if role == "spatial"]
        return spatial, [item for item, role in pairs if role == "reduced"]


@dataclass(frozen=True, eq=False)
class Kernel:
    """The blocks of a kernel.

    Attributes:
        schedule: of the kernel, with no step taken.
        blocks: in program order.
    """

    schedule: Schedule
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, module: IRModule) -> Kernel:
        """Reads a module's `main`; one that was lowered has no blocks."""
        from tvm.s_tir import Schedule

        schedule = Schedule(module)
        return cls(schedule, _read(schedule, blocks_of(schedule)))

    @property
    def regular(self) -> bool:
        """Whether its blocks, at least one, are told by their axes: all extents are constants, none
        is zero, and no block is opaque."""
        return bool(self.blocks) and all(
            block.static and 0 not in block.extents and not block.opaque for block in self.blocks
        )

    @property
    def reducing(self) -> list[Block]:
        """The blocks that reduce."""
        return [block for block in self.blocks if block.reduces]

    def consumers(self, block: Block) -> tuple[Block, ...]:
        """The blocks that read what a block writes."""
        handle = self.schedule.get_sblock(block.name)
        return _read(self.schedule, self.schedule.get_consumers(handle))

    def producers(self, block: Block) -> tuple[Block, ...]:
        """The blocks that write what a block reads."""
        handle = self.schedule.get_sblock(block.name)
        return _read(self.schedule, self.schedule.get_producers(handle))


def with_root(function: PrimFunc) -> PrimFunc:
    """A kernel that is one block with loops of its own, in a root block as other kernels are:
    TVM's passes over scheduled kernels take what they find there for the root."""
    from tvm.s_tir import SBlock, SBlockRealize
    from tvm_ffi import structural_walk

    body = function.body
    if not isinstance(body, SBlockRealize):
        return function
    blocks: list[SBlock] = []
    structural_walk(body, [(SBlock, blocks.append)])
    if len(blocks) > 1:
        return function
    root = SBlock([], [], [], "root", body)
    return function.with_body(SBlockRealize([], True, root))


def extents_of(node: SBlock) -> tuple[int, ...]:
    """The extents of a static block's axes."""
    return Block.of(node).extents


def constant_extents(shape: Iterable[Any]) -> tuple[int, ...] | None:
    """The extents of a shape, None where any is symbolic."""
    from tvm.tirx import IntImm

    extents = list(shape)
    if not all(isinstance(extent, IntImm) for extent in extents):
        return None
    return tuple(int(extent) for extent in extents)


def blocks_of(schedule: Schedule) -> list[SBlockRV]:
    """The blocks of a kernel that is being scheduled, in program order; none of one that was
    lowered."""
    from tvm.s_tir import SBlockRealize

    body = schedule.mod["main"].body
    if not isinstance(body, SBlockRealize):
        return []
    # Called "root", but for a kernel that is one block with loops of its own.
    return list(schedule.get_child_blocks(schedule.get_sblock(str(body.block.name_hint))))


def _read(schedule: Schedule, handles: Iterable[SBlockRV]) -> tuple[Block, ...]:
    return tuple(Block.of(schedule.get(handle)) for handle in handles)


def _axis(variable: Any) -> Axis:
    from tvm.tirx import IntImm, IterVar

    roles: dict[int, Role] = {IterVar.DataPar: "spatial", IterVar.CommReduce: "reduced"}
    extent = variable.dom.extent
    size = int(extent) if isinstance(extent, IntImm) else None
    return Axis(variable.var, size, roles.get(int(variable.iter_type), "other"))


def _extents(axes: Iterable[Axis]) -> tuple[int, ...]:
    extents = []
    for axis in axes:
        if axis.extent is None:
            raise ValueError(f"the extent of {axis.var.name} is no constant")
        extents.append(axis.extent)
    return tuple(extents)
