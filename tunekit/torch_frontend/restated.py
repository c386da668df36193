"""Programs whose operators have converters nearly as they are traced.

torch decomposes a program by tracing it once more, which takes most of an import's time. A
convolutional network needs none of that: its composite operators are restated one by one, and what
it writes in place is known by its result. Programs with anything else are left to `decompose`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from tunekit.torch_frontend.table import CHECKS, CONVERTERS, DECOMPOSITIONS, converter_key

aten = torch.ops.aten

Restatement = Callable[..., Any]
"""Takes the operator's arguments; gives an operator and its arguments, a node that is the result
already, or None where it is something else as it is used."""


def restated(program: ExportedProgram) -> Graph | None:
    """The program's graph in operators that have converters, without a second trace.

    None where an operator needs its decomposition, or where something is written in place that
    another value might share.
    """
    if not all(map(_is_plain, program.graph.nodes)):
        return None
    graph = Graph()
    graph.output(graph.graph_copy(program.graph, {}))
    for node in list(graph.nodes):
        if node.op == "call_function" and not _restate(graph, node):
            return None
    graph.eliminate_dead_code()
    return graph


def _is_plain(node: Node) -> bool:
    return node.op in ("placeholder", "output") or (
        node.op == "call_function"
        and (isinstance(node.target, torch._ops.OpOverload) or _name(node) == "getitem")
    )


def _restate(graph: Graph, node: Node) -> bool:
    """Whether a node has, or gets, an operator that has a converter."""
    name = _name(node)
    if name == "getitem":
        return True
    if name.startswith(CHECKS):
        graph.erase_node(node)
        return True
    if name not in _RESTATEMENTS and node.target._schema.is_mutable:  # type: ignore[union-attr]
        if not _is_only_known_by_its_name(node):
            return False
        name = _without_writing(node)
    restate = _RESTATEMENTS.get(name)
    if restate is not None:
        return _replace(graph, node, restate(*node.args, **node.kwargs))
    return name in CONVERTERS and name not in DECOMPOSITIONS


def _replace(graph: Graph, node: Node, replacement: Any) -> bool:
    if replacement is None:
        return False
    if isinstance(replacement, Node):
        node.replace_all_uses_with(replacement)
        graph.erase_node(node)
        return True
    operation, node.args = replacement
    node.target, node.kwargs = operation, {}
    if len(operation._schema.returns) > 1:
        _take_first(graph, node)
    return True


def _take_first(graph: Graph, node: Node) -> None:
    """Has the users of a node, which gives a tuple now, use the first of it."""
    users = list(node.users)
    with graph.inserting_after(node):
        first = graph.call_function(operator.getitem, (node, 0))
    first.meta = dict(node.meta)
    for user in users:
        user.replace_input_with(node, first)
    fake = node.meta["val"]
    nothing = fake.new_empty((0,))
    node.meta = {**node.meta, "val": (fake, nothing, nothing)}


def _without_writing(node: Node) -> str:
    """Has a node compute what it would write in place; gives its operator's name.

    Whoever reads what was written from then on reads the node.
    """
    written = node.args[0]
    packet, _, overload = _name(node).partition(".")
    functional = getattr(getattr(aten, packet.removesuffix("_"), None), overload, None)
    if functional is None or not packet.endswith("_"):
        return ""
    node.target = functional
    written.replace_all_uses_with(  # type: ignore[union-attr]
        node, delete_user_cb=lambda user: user is not node and user > node
    )
    return _name(node)


def _is_only_known_by_its_name(node: Node) -> bool:
    """Whether nothing else shares the memory of the tensor that a node writes."""
    if not node.args or not isinstance(node.args[0], Node):
        return False
    written: Node = node.args[0]
    earlier = [user for user in written.users if user < node]
    return all(map(_gives_memory_of_its_own, [written, *earlier]))


def _gives_memory_of_its_own(node: Node) -> bool:
    """Whether what an operator gives is never a view of what it took, nor that itself."""
    if _name(node) == "getitem":
        node = node.args[0]  # type: ignore[assignment]
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    schema = node.target._schema
    if any(item.alias_info is not None for item in (*schema.arguments, *schema.returns)):
        return False
    # What is composed of other operators may give its input back, and its schema does not say so.
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    return not node.target.has_kernel_for_dispatch_key(composite) or _name(node) in _COMPUTING


_COMPUTING = frozenset(
    f"{name}.default"
    for name in (
        *("conv1d", "conv2d", "conv3d", "batch_norm", "layer_norm", "linear", "max_pool2d"),
        *("adaptive_avg_pool2d", "silu", "matmul"),
    )
)
"""Composite operators that never give their input back."""


def _name(node: Node) -> str:
    return converter_key(node.target)


def _convolution(dimensions: int) -> Restatement:
    def restate(
        input: Node,  # noqa: A002
        weight: Node,
        bias: Node | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        if len(input.meta["val"].shape) != dimensions + 2:
            return None
        sizes = [_each(value, dimensions) for value in (stride, padding, dilation)]
        none = [0] * dimensions
        return aten.convolution.default, (input, weight, bias, *sizes, False, none, groups)

    return restate


def _each(value: Any, count: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


def _batch_norm(
    input: Node,  # noqa: A002
    weight: Node | None,
    bias: Node | None,
    mean: Node | None,
    var: Node | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    if training or mean is None or var is None:
        return None
    arguments = (input, weight, bias, mean, var, momentum, eps)
    return aten._native_batch_norm_legit_no_training.default, arguments


def _dropout(input: Node, p: float, train: bool) -> Any:  # noqa: A002
    return None if train else input


def _split(input: Node, split_size: int, dim: int = 0) -> Any:  # noqa: A002
    size = int(input.meta["val"].shape[dim])
    if not size or not split_size:
        return None
    sizes = [min(split_size, size - begin) for begin in range(0, size, split_size)]
    return aten.split_with_sizes.default, (input, sizes, dim)


def _chunk(input: Node, chunks: int, dim: int = 0) -> Any:  # noqa: A002
    return _split(input, -(-int(input.meta["val"].shape[dim]) // chunks), dim)


def _pad(input: Node, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Any:  # noqa: A002
    if mode != "constant":
        return None
    return aten.constant_pad_nd.default, (input, pad, value or 0.0)


_RESTATEMENTS: dict[str, Restatement] = {
    "conv1d.default": _convolution(1),
    "conv2d.default": _convolution(2),
    "conv3d.default": _convolution(3),
    "batch_norm.default": _batch_norm,
    "dropout.default": _dropout,
    "dropout_.default": _dropout,
    "feature_dropout.default": _dropout,
    "feature_dropout_.default": _dropout,
    "chunk.default": _chunk,
    "pad.default": _pad,
    "split.Tensor": _split,
}
