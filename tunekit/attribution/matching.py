"""Which operators of two runtimes do the same work.

Names and boundaries differ from runtime to runtime: what is fused here is a node of its own there.
So convolutions and products are matched by their sizes, whatever is fused to them; what is left
by kind and size of its output, then by kind. Several operators with the same sizes are one group,
whose time is divided by calls. Nothing is dropped: what has no counterpart is given back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from tunekit.attribution.nodes import Kind, Node

By = Literal["work", "size", "kind"]

T = TypeVar("T")


@dataclass(frozen=True)
class KernelWork:
    """A kernel of the library, all its calls in a run together.

    Attributes:
        name: of its function.
        kind: of what it does.
        key: of its convolution or product, as in `Operation.key`.
        elements: of its output.
        calls: in one run.
    """

    name: str
    kind: Kind
    key: str | None
    elements: int
    calls: int


@dataclass(frozen=True)
class Counterpart:
    """What another runtime needs for the work of a kernel.

    Attributes:
        seconds: in one run.
        by: how it was found: the same sizes, kind and size of output, or only the kind.
        nodes: the names of the group's nodes.
        kernels: kernels that share the group.
    """

    seconds: float
    by: By
    nodes: tuple[str, ...]
    kernels: int


@dataclass(frozen=True)
class Matching:
    """The counterparts of kernels by their names, and the nodes that have none."""

    counterparts: dict[str, Counterpart]
    unmatched: tuple[Node, ...]


def match(kernels: Sequence[KernelWork], nodes: Sequence[Node]) -> Matching:
    """Finds the counterparts; their seconds and those of the unmatched add up to all nodes'."""
    counterparts: dict[str, Counterpart] = {}
    left_kernels, left_nodes = list(kernels), list(nodes)
    levels: tuple[tuple[By, Callable[[KernelWork | Node], Hashable]], ...] = (
        ("work", lambda work: work.key),
        ("size", lambda work: None if work.key else (work.kind, work.elements)),
        ("kind", lambda work: None if work.key else work.kind),
    )
    for by, group_of in levels:
        groups = _grouped(left_nodes, group_of)
        for group, members in _grouped(left_kernels, group_of).items():
            matched = groups.get(group, [])
            seconds = sum(node.seconds for node in matched)
            calls = sum(kernel.calls for kernel in members)
            for kernel in members if matched else ():
                counterparts[kernel.name] = Counterpart(
                    seconds=seconds * kernel.calls / calls,
                    by=by,
                    nodes=tuple(node.name for node in matched),
                    kernels=len(members),
                )
            if matched:
                taken = set(map(id, matched))
                left_nodes = [node for node in left_nodes if id(node) not in taken]
        left_kernels = [kernel for kernel in left_kernels if kernel.name not in counterparts]
    return Matching(counterparts, tuple(left_nodes))


def _grouped(members: Sequence[T], group_of: Callable[[T], Hashable]) -> dict[Hashable, list[T]]:
    """The members by group; those that belong to none (None) are left out."""
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for member in members:
        group = group_of(member)
        if group is not None:
            groups[group].append(member)
    return dict(groups)
