"""Pad in all its modes."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.shapes import sliced
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value, shape_of


@converts("Pad")
def _pad(node: OnnxNode) -> Value:
    rank = len(node.shape())
    pads = node.sizes(1, "paddings" if "paddings" in node.attributes else "pads") or []
    axes = node.axes(3, rank) if node.has(3) else list(range(rank))
    assert axes is not None
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        before[axis], after[axis] = pads[index], pads[index + len(axes)]
    number = 0.0
    if node.has(2):
        number = node.known(2, "constant_value").reshape(()).item()
    elif "value" in node.attributes:
        number = node.attributes["value"]
    return padded(node, node.value(0), before, after, node.attribute("mode", "constant"), number)


def padded(
    node: OnnxNode,
    value: Value,
    before: list[int],
    after: list[int],
    mode: str = "constant",
    number: float = 0.0,
) -> Value:
    """A tensor with elements put before and after each axis; negative ones are cut off."""
    shape = shape_of(value)
    cut = {
        axis: range(max(-first, 0), size - max(-last, 0))
        for axis, (first, last, size) in enumerate(zip(before, after, shape, strict=True))
        if first < 0 or last < 0
    }
    if cut:
        value = sliced(node, value, cut, shape)
    before, after = ([max(size, 0) for size in sizes] for sizes in (before, after))
    if not any(before) and not any(after):
        return value
    if mode == "constant":
        if isinstance(value, np.ndarray):
            return np.pad(value, list(zip(before, after, strict=True)), constant_values=number)
        widths = [size for pair in zip(before, after, strict=True) for size in pair]
        return node.emit(relax.op.nn.pad(value, widths, "constant", number))
    if mode not in _SOURCES:
        raise Unsupported(f"its mode is {mode!r}")
    return node.emit_te(_mirrored, value, before=before, after=after, mode=mode, name=f"pad_{mode}")


def _mirrored(data: Any, before: list[int], after: list[int], mode: str) -> Any:
    """Each element is one of the tensor's own."""
    from tvm import te

    sizes = [int(size) for size in data.shape]
    shape = [first + size + last for first, size, last in zip(before, sizes, after, strict=True)]

    def element(*axes: Any) -> Any:
        places = [
            axis if not first and not last else _SOURCES[mode](axis - first, size)
            for axis, first, last, size in zip(axes, before, after, sizes, strict=True)
        ]
        return data(*places)

    return te.compute(shape, element, name=f"pad_{mode}", tag="injective,pad")


def _edge(index: Any, size: int) -> Any:
    from tvm import te

    return te.max(te.min(index, size - 1), 0)


def _reflected(index: Any, size: int) -> Any:
    """Back and forth, the elements at the ends once."""
    from tvm import te

    if size == 1:
        return 0
    period = 2 * (size - 1)
    folded = te.indexmod(index + period * _TURNS, period)
    return te.min(folded, period - folded)


def _wrapped(index: Any, size: int) -> Any:
    from tvm import te

    return te.indexmod(index + size * _TURNS, size)


# So often may a pad be as wide as its axis before an index gets negative.
_TURNS = 1 << 10
_SOURCES = {"edge": _edge, "reflect": _reflected, "wrap": _wrapped}
