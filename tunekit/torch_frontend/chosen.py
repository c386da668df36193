"""Elements that a mask chooses (`x[x > 0]`), kept where they are where that gives the same.

How many there are depends on values. What is computed of each by itself can be computed of all, as
long as it ends in a write through the same mask or in a number: `x[m] = f(x[m])` is a choice
between `f(x)` and `x`, `x[m].sum()` the sum of `x` with zeros elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from tunekit.torch_frontend.table import CHECKS, converter_key

aten = torch.ops.aten

_READS = ("index.Tensor", "_unsafe_index.Tensor")
_WRITES = ("index_put.default", "index_put_.default", "_unsafe_index_put.default")


@dataclass(frozen=True)
class _Chosen:
    """All elements of a tensor, and the mask of those that are meant; the mask's axes come first.

    Attributes:
        whole: the tensor.
        mask: as booleans.
    """

    whole: Node
    mask: Node


def keep_chosen(graph: Graph) -> None:
    """Rewrites a graph; what it cannot keep stays as it is."""
    _Rewriting(graph).run()


class _Rewriting:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.chosen: dict[Node, _Chosen] = {}

    def run(self) -> None:
        nodes = list(self.graph.nodes)
        if not any(map(_is_read, nodes)):
            return
        for node in nodes:
            if node.op != "call_function":
                continue
            if _is_read(node):
                [mask] = node.args[1]
                self.chosen[node] = _Chosen(node.args[0], mask)
            elif any(source in self.chosen for source in node.all_input_nodes):
                self._rewrite(node)
        for node in reversed(list(self.graph.nodes)):
            if node.op == "call_function" and converter_key(node.target).startswith(CHECKS):
                self.graph.erase_node(node)
        self.graph.eliminate_dead_code()

    def _rewrite(self, node: Node) -> None:
        sources = [self.chosen[item] for item in node.all_input_nodes if item in self.chosen]
        name = converter_key(node.target)
        if not all(_are_equal(source.mask, sources[0].mask) for source in sources):
            return
        with self.graph.inserting_before(node):
            if name in _WRITES:
                self._write(node, sources[0])
            elif name in _NUMBERS and self._takes_all(node, sources[0]):
                node.replace_all_uses_with(_NUMBERS[name](self, sources[0], node))
            elif self._is_by_element(node, sources[0]):
                arguments = map_arg((node.args, node.kwargs), self._whole)
                whole = self.call(node.target, *arguments[0], **arguments[1])
                self.chosen[node] = _Chosen(whole, sources[0].mask)

    def _whole(self, node: Node) -> Node:
        return self.chosen[node].whole if node in self.chosen else node

    def _write(self, node: Node, source: _Chosen) -> None:
        target, indices, values, *more = node.args
        is_same = len(indices) == 1 and _are_equal(indices[0], source.mask)  # type: ignore
        if is_same and values in self.chosen and target not in self.chosen and not any(more):
            whole = self.chosen[values].whole  # type: ignore[index]
            mask = self.mask_for(source.mask, whole)
            node.replace_all_uses_with(self.call(aten.where.self, mask, whole, target))

    def _takes_all(self, node: Node, source: _Chosen) -> bool:
        """Whether a reduction is over all elements of a tensor of the mask's shape."""
        axes = node.args[1] if len(node.args) > 1 else []
        is_flat = _rank(source.mask) == _rank(source.whole)
        return is_flat and axes in ([], None, [0], [-1], 0, -1) and not node.args[2:]

    def _is_by_element(self, node: Node, source: _Chosen) -> bool:
        """Whether a node computes each element by itself, and others broadcast behind the mask."""
        target: Any = node.target
        behind = _rank(source.whole) - _rank(source.mask)
        others = [item for item in node.all_input_nodes if item not in self.chosen]
        return (
            isinstance(target, torch._ops.OpOverload)
            and (torch.Tag.pointwise in target.tags or target is aten._to_copy.default)
            and not target._schema.is_mutable
            and all(_rank(item) <= behind for item in others)
        )

    def mask_for(self, mask: Node, whole: Node) -> Node:
        """The mask with axes of 1 behind its own, as many as the tensor has."""
        for _ in range(_rank(whole) - _rank(mask)):
            mask = self.call(aten.unsqueeze.default, mask, -1)
        return mask

    def filled(self, source: _Chosen, number: float) -> Node:
        """The tensor with a number in place of what is not chosen."""
        dtype = source.whole.meta["val"].dtype
        other = self.call(aten.full.default, [], number, dtype=dtype)
        return self.call(aten.where.self, source.mask, source.whole, other)

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        """A node, with the fake tensor that it gives."""
        node = self.graph.call_function(target, args, kwargs)
        fakes = map_arg((args, kwargs), lambda item: item.meta["val"])
        tensors = [item.meta["val"] for item in node.all_input_nodes]
        modes = [item.fake_mode for item in tensors if hasattr(item, "fake_mode")]
        with modes[0] if modes else self._mode():
            node.meta["val"] = target(*fakes[0], **fakes[1])
        return node

    def _mode(self) -> Any:
        return next(iter(self.chosen)).meta["val"].fake_mode


def _sum(graph: _Rewriting, source: _Chosen, node: Node) -> Node:
    return graph.call(aten.sum.default, graph.filled(source, 0), **node.kwargs)


def _mean(graph: _Rewriting, source: _Chosen, node: Node) -> Node:
    total = graph.call(aten.sum.default, graph.filled(source, 0))
    count = graph.call(aten.sum.default, source.mask)
    return graph.call(aten.div.Tensor, total, count)


def _extreme(operator: Any, sign: int) -> Callable[[_Rewriting, _Chosen, Node], Node]:
    def convert(graph: _Rewriting, source: _Chosen, node: Node) -> Node:
        dtype = source.whole.meta["val"].dtype
        bounds = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
        lowest = -torch.inf if dtype.is_floating_point else bounds.min
        highest = torch.inf if dtype.is_floating_point else bounds.max
        return graph.call(operator, graph.filled(source, lowest if sign > 0 else highest))

    return convert


_NUMBERS: dict[str, Callable[[_Rewriting, _Chosen, Node], Node]] = {
    **dict.fromkeys(("sum.default", "sum.dim_IntList"), _sum),
    **dict.fromkeys(("mean.default", "mean.dim"), _mean),
    **dict.fromkeys(("amax.default", "max.default"), _extreme(aten.amax.default, 1)),
    **dict.fromkeys(("amin.default", "min.default"), _extreme(aten.amin.default, -1)),
}


def _is_read(node: Node) -> bool:
    """Whether a mask chooses in it, and is all that does."""
    if node.op != "call_function" or converter_key(node.target) not in _READS:
        return False
    indices: Any = node.args[1]
    return len(indices) == 1 and isinstance(indices[0], Node) and _is_mask(indices[0])


def _is_mask(node: Node) -> bool:
    fake = node.meta.get("val")
    return isinstance(fake, torch.Tensor) and fake.dtype is torch.bool


def _are_equal(left: Any, right: Any) -> bool:
    """Whether two arguments are the same, or the same operator on the same arguments."""
    if left is right:
        return True
    if not isinstance(left, Node) or not isinstance(right, Node):
        return not isinstance(left, Node) and not isinstance(right, Node) and bool(left == right)
    return (
        left.op == right.op == "call_function"
        and left.target == right.target
        and left.kwargs == right.kwargs
        and len(left.args) == len(right.args)
        and all(map(_are_equal, left.args, right.args))
    )


def _rank(node: Node) -> int:
    fake = node.meta.get("val")
    return fake.dim() if isinstance(fake, torch.Tensor) else 0
