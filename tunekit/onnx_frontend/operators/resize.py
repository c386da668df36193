"""Resize and Upsample: each output is a weighted sum of a few inputs along each resized axis."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tvm import relax

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.resampling import COORDINATES, ResizedAxis, Taps, taps_of
from tunekit.onnx_frontend.values import Array, Value, dtype_of, shape_of

_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}
# Up to so many products are written out in one kernel; more go axis by axis.
_TAPS_OF_A_KERNEL = 4
# Of one, in which ONNX Runtime counts the weights of bytes.
_STEPS = 1 << 10
# Linear coordinates that Relax's operator computes where the scale is the ratio of the sizes.
_RELAX_MODES = {
    "half_pixel": "half_pixel",
    "half_pixel_symmetric": "half_pixel",
    "pytorch_half_pixel": "pytorch_half_pixel",
    "asymmetric": "asymmetric",
    "align_corners": "align_corners",
}


@converts("Resize")
def _resize(node: OnnxNode) -> Value:
    if node.version < 11:
        # As Upsample: without any choice of coordinates.
        return _resized(node, _axes_by_scale(node, 1), "asymmetric", "simple")
    sizes = node.known(3, "sizes") if node.has(3) else None
    if sizes is not None and sizes.size:
        axes = _axes_by_size(node, [int(size) for size in sizes])
    else:
        axes = _axes_by_scale(node, 2)
    return _resized(
        node,
        axes,
        node.attribute("coordinate_transformation_mode", "half_pixel"),
        node.attribute("nearest_mode", "round_prefer_floor"),
    )


@converts("Upsample")
def _upsample(node: OnnxNode) -> Value:
    return _resized(node, _axes_by_scale(node, 1), "asymmetric", "simple")


def _chosen_axes(node: OnnxNode) -> list[int]:
    rank = len(node.shape())
    return [int(axis) % rank for axis in node.attribute("axes") or range(rank)]


def _axes_by_scale(node: OnnxNode, index: int) -> list[ResizedAxis]:
    given = node.attributes.get("scales")
    if given is None:
        if not node.has(index):
            raise Unsupported("it has neither scales nor sizes")
        given = node.known(index, "scales").reshape(-1)
    chosen = _chosen_axes(node)
    if len(given) != len(chosen):
        raise Unsupported(f"it has {len(given)} scales for {len(chosen)} axes")
    scales = [np.float32(scale) for scale in given]
    return _axes(
        node,
        scales,
        [
            int(scale * np.float32(node.shape()[axis]))
            for axis, scale in zip(chosen, scales, strict=True)
        ],
    )


def _axes_by_size(node: OnnxNode, sizes: list[int]) -> list[ResizedAxis]:
    chosen = _chosen_axes(node)
    if len(sizes) != len(chosen):
        raise Unsupported(f"it has {len(sizes)} sizes for {len(chosen)} axes")
    extents = [node.shape()[axis] for axis in chosen]
    scales = [
        np.float32(size) / np.float32(extent) for size, extent in zip(sizes, extents, strict=True)
    ]
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        scale = min(scales) if policy == "not_larger" else max(scales)
        scales = [scale] * len(scales)
        sizes = [int(np.floor(scale * np.float32(extent) + np.float32(0.5))) for extent in extents]
    return _axes(node, scales, sizes)


def _axes(node: OnnxNode, scales: list[np.float32], lengths: list[int]) -> list[ResizedAxis]:
    """The axes that are given, with the region of interest where one counts."""
    shape, chosen = node.shape(), _chosen_axes(node)
    starts, ends = [np.float32(0)] * len(chosen), [np.float32(1)] * len(chosen)
    if node.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        region = node.known(1, "roi").astype(np.float32).reshape(-1)
        starts, ends = list(region[: len(chosen)]), list(region[len(chosen) :])
    return [
        ResizedAxis(axis, shape[axis], length, scale, start, end)
        for axis, length, scale, start, end in zip(
            chosen, lengths, scales, starts, ends, strict=True
        )
    ]


def _resized(node: OnnxNode, axes: list[ResizedAxis], coordinates: str, nearest: str) -> Value:
    """The tensor with its axes resized."""
    mode = _MODES.get(node.attribute("mode", "nearest"))
    if mode is None:
        raise Unsupported(f"its mode is {node.attribute('mode')!r}")
    if coordinates not in COORDINATES:
        raise Unsupported(f"its coordinate_transformation_mode is {coordinates!r}")
    # By a scale of one an axis stays as it is, even where a part of it is of interest.
    changed = [axis for axis in axes if axis.length != axis.size or axis.scale != 1]
    if not changed:
        return node.value(0)
    in_integers = mode == "linear" and "int" in node.dtype() and not node.attribute("antialias")
    if in_integers:
        changed = _plane_of(node, changed)
    taps = [
        taps_of(
            axis,
            mode,
            coordinates,
            nearest,
            antialias=bool(node.attribute("antialias")),
            coefficient=float(node.attribute("cubic_coeff_a", -0.75)),
            excludes=bool(node.attribute("exclude_outside")),
        )
        for axis in changed
    ]
    if in_integers and _counts_in_steps(node, taps):
        taps = [replace(item, weights=_in_steps(item.weights)) for item in taps]
    result = _by_relax(node, taps, mode, coordinates)
    if result is None:
        result = _by_taps(node, taps)
    return _extrapolated(node, result, taps) if coordinates == "tf_crop_and_resize" else result


def _plane_of(node: OnnxNode, changed: list[ResizedAxis]) -> list[ResizedAxis]:
    """Both axes of an image where one is resized: ONNX Runtime sums elements along both, which
    shows in integers."""
    shape = node.shape()
    planes = ((2, 3), (1, 2)) if len(shape) == 4 else ()
    axes = {axis.index: axis for axis in changed}
    plane = next((plane for plane in planes if {*axes} <= {*plane}), ())
    one = np.float32(1)
    return [
        axes.get(index) or ResizedAxis(index, shape[index], shape[index], one, np.float32(0), one)
        for index in plane or axes
    ]


def _counts_in_steps(node: OnnxNode, taps: Sequence[Taps]) -> bool:
    """Whether ONNX Runtime computes with integers: for bytes with their channels last."""
    return node.dtype() in ("int8", "uint8") and [item.axis.index for item in taps] == [1, 2]


def _in_steps(weights: Array | None) -> Array:
    """Weights of two elements as integers."""
    assert weights is not None
    of_second = (weights[:, 1] * _STEPS).astype(np.int32)
    return np.stack([_STEPS - of_second, of_second], 1)


def _by_relax(node: OnnxNode, taps: list[Taps], mode: str, coordinates: str) -> Value | None:
    """By the operator of Relax, which keeps the layout in blocks, where it gives the same."""
    shape = node.shape()
    axes = {item.axis.index: item.axis for item in taps}
    if len(shape) != 4 or not set(axes) <= {2, 3} or node.dtype() not in ("float16", "float32"):
        return None
    size = [axes[axis].length if axis in axes else shape[axis] for axis in (2, 3)]
    if mode == "nearest" and all(map(_repeats, taps)):
        return relax.op.image.resize2d(
            node.tensor(),
            size,
            method="nearest_neighbor",
            coordinate_transformation_mode="asymmetric",
            rounding_method="floor",
        )
    is_plain = coordinates in _RELAX_MODES and not node.attribute("antialias")
    if (
        mode == "linear"
        and is_plain
        and all(axis.is_ratio and axis.length > 1 for axis in axes.values())
    ):
        # An axis that stays as it is has the same coordinates in all of these modes.
        return relax.op.image.resize2d(
            node.tensor(),
            size,
            method="linear",
            coordinate_transformation_mode=_RELAX_MODES[coordinates],
        )
    return None


def _repeats(taps: Taps) -> bool:
    """Whether each element of the axis is repeated a number of times."""
    factor, rest = divmod(taps.axis.length, taps.axis.size)
    return not rest and bool(np.all(taps.places[:, 0] == np.arange(taps.axis.length) // factor))


def _by_taps(node: OnnxNode, taps: list[Taps]) -> Value:
    """By kernels of tables: one, or one for each axis where that is less to compute."""
    value, dtype = node.value(0), node.dtype()
    if math.prod(item.count for item in taps) <= _TAPS_OF_A_KERNEL:
        groups = [taps]
    else:
        groups = [[item] for item in sorted(taps, key=lambda t: t.axis.length / t.axis.size)]
    for group in groups:
        value = _summed(node, value, group)
    if dtype_of(value) == dtype:
        return value
    if node.attribute("antialias") and "int" in dtype:
        limits = np.iinfo(dtype)
        value = node.call(
            "Clip",
            node.call("Round", value),
            *(np.array(limit, "float32") for limit in (limits.min, limits.max)),
        )
    return node.emit(relax.op.astype(value, dtype))


def _summed(node: OnnxNode, value: Value, group: Sequence[Taps]) -> Value:
    tables: list[Array] = []
    for taps in group:
        tables.append(taps.places.astype(np.int32))
        if taps.weights is not None:
            is_integer = taps.weights.dtype == np.int32
            tables.append(taps.weights if is_integer else taps.weights.astype(np.float32))
    return node.emit_te(
        _sum_of_taps,
        node.expr(value),
        tables,
        axes=[taps.axis.index for taps in group],
        counts=[taps.count for taps in group],
        name="resize",
    )


def _sum_of_taps(data: Any, tables: Sequence[Any], axes: list[int], counts: list[int]) -> Any:
    from tvm import te, tirx

    weighted = len(tables) > len(axes)
    places = tables[:: 2 if weighted else 1]
    # Integers and short floats are summed in single precision, or by weights that are integers.
    dtype = "float64" if str(data.dtype) == "float64" else "float32"
    in_steps = weighted and str(tables[1].dtype) == "int32"
    if in_steps:
        dtype = "int32"
    shape = list(data.shape)
    for axis, table in zip(axes, places, strict=True):
        shape[axis] = table.shape[0]

    def term(indices: tuple[Any, ...], offsets: Sequence[Any]) -> Any:
        source = list(indices)
        for axis, table, offset in zip(axes, places, offsets, strict=True):
            source[axis] = table(indices[axis], offset)
        element = data(*source)
        if not weighted:
            return element
        weights = [
            table(indices[axis], offset).astype(dtype)
            for axis, table, offset in zip(axes, tables[1::2], offsets, strict=True)
        ]
        return math.prod(weights[1:], start=weights[0]) * element.astype(dtype)

    if math.prod(counts) > _TAPS_OF_A_KERNEL:
        [count] = counts
        inner = te.reduce_axis((0, count), name="tap")
        return te.compute(
            shape, lambda *indices: te.sum(term(indices, [inner]), axis=inner), name="resize"
        )

    def element(*indices: Any) -> Any:
        first, *rest = (
            term(indices, offsets) for offsets in itertools.product(*map(range, counts))
        )
        if in_steps:
            return tirx.truncdiv(sum(rest, first), tirx.const(_STEPS**2, "int32"))
        if weighted and "int" in str(data.dtype):
            return functools.reduce(_rounded_sum, rest, first)
        return sum(rest, first)

    return te.compute(shape, element, name="resize", tag="injective")


def _rounded_sum(left: Any, right: Any) -> Any:
    """The sum of single-precision numbers in single precision, product and sum never as one:
    their result is cut to an integer, which shows the last bit."""
    return (left.astype("float64") + right.astype("float64")).astype("float32")


def _extrapolated(node: OnnxNode, value: Value, taps: list[Taps]) -> Value:
    """With the given number where the region of interest lies outside of the input."""
    rank = len(shape_of(value))
    inside = np.ones([1] * rank, bool)
    for item in taps:
        aligned = [-1 if axis == item.axis.index else 1 for axis in range(rank)]
        inside = inside & item.inside.reshape(aligned)
    if inside.all():
        return value
    number = np.array(node.attribute("extrapolation_value", 0.0)).astype(dtype_of(value))
    return node.call("Where", inside, value, number)
