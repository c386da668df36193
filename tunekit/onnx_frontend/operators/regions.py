"""Poolings over regions of an image that are given at run time."""

from __future__ import annotations

import itertools
from typing import Any

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value


@converts("RoiAlign")
def _roi_align(node: OnnxNode) -> Value:
    mode = node.attribute("mode", "avg")
    if mode not in ("avg", "max"):
        raise Unsupported(f"its mode is {mode!r}")
    half_pixel = node.version >= 16 and (
        node.attribute("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    )
    return node.emit_te(
        _aligned_regions,
        node.tensor(0),
        node.tensor(1),
        node.tensor(2),
        size=(int(node.attribute("output_height", 1)), int(node.attribute("output_width", 1))),
        samples=int(node.attribute("sampling_ratio", 0)),
        scale=float(node.attribute("spatial_scale", 1.0)),
        half_pixel=half_pixel,
        mode=mode,
        name="roi_align",
    )


def _aligned_regions(
    data: Any,
    regions: Any,
    images: Any,
    size: tuple[int, int],
    samples: int,
    scale: float,
    half_pixel: bool,
    mode: str,
) -> Any:
    """(regions, channels, *size): the mean or the largest of samples in each bin of a region."""
    from tvm import te, tirx

    dtype = str(data.dtype)
    offset = 0.5 if half_pixel else 0.0
    extents = [int(extent) for extent in data.shape[2:]]

    def bin_of(region: Any, axis: int) -> tuple[Any, Any, Any]:
        """Where the region begins, how wide its bins are and how many samples they have."""
        start = regions(region, 1 - axis) * scale - offset
        width = regions(region, 3 - axis) * scale - offset - start
        if not half_pixel:
            width = te.max(width, tirx.const(1, dtype))
        count = tirx.const(samples, "int32")
        if not samples:
            # So many that each reads about one pixel.
            count = te.max(te.ceil(width / float(size[axis])).astype("int32"), 1)
        return start, width / float(size[axis]), count

    def place(region: Any, axis: int, index: Any, sample: Any) -> Any:
        start, width, count = bin_of(region, axis)
        part = (sample.astype(dtype) + 0.5) * width / count.astype(dtype)
        return start + index.astype(dtype) * width + part

    def element(region: Any, channel: Any, y: Any, x: Any) -> Any:
        counts = [bin_of(region, axis)[2] for axis in (0, 1)]
        axes = [te.reduce_axis((0, count), name=f"s{axis}") for axis, count in enumerate(counts)]
        terms = _region_terms(
            data,
            images(region).astype("int32"),
            channel,
            [place(region, 0, y, axes[0]), place(region, 1, x, axes[1])],
            extents,
        )
        if mode == "max":
            largest = terms[0]
            for term in terms[1:]:
                largest = te.max(largest, term)
            return te.max(largest, axis=axes)
        share = (counts[0] * counts[1]).astype(dtype)
        return te.sum(sum(terms[1:], terms[0]) / share, axis=axes)

    return te.compute([regions.shape[0], data.shape[1], *size], element, name="roi_align")


def _region_terms(
    data: Any, image: Any, channel: Any, places: list[Any], extents: list[int]
) -> list[Any]:
    """The four weighted pixels around a place; noughts more than a pixel outside."""
    from tvm import te, tirx

    dtype = str(data.dtype)
    taps = []
    for place, size in zip(places, extents, strict=True):
        near = te.max(place, tirx.const(0, dtype))
        low = te.min(near.astype("int32"), size - 1)
        high = te.min(low + 1, size - 1)
        part = te.if_then_else(low >= size - 1, tirx.const(0, dtype), near - low.astype(dtype))
        taps.append([(low, 1.0 - part), (high, part)])
    inside = tirx.all(
        *(
            condition
            for place, size in zip(places, extents, strict=True)
            for condition in (place >= -1.0, place <= float(size))
        )
    )
    return [
        te.if_then_else(
            inside,
            data(image, channel, rows, columns) * row_weight * column_weight,
            tirx.const(0, dtype),
        )
        for (rows, row_weight), (columns, column_weight) in itertools.product(*taps)
    ]


@converts("MaxRoiPool")
def _max_roi_pool(node: OnnxNode) -> Value:
    return node.emit_te(
        _pooled_regions,
        node.tensor(0),
        node.tensor(1),
        size=tuple(int(size) for size in node.attribute("pooled_shape")),
        scale=float(node.attribute("spatial_scale", 1.0)),
        name="max_roi_pool",
    )


def _pooled_regions(data: Any, regions: Any, size: tuple[int, int], scale: float) -> Any:
    """(regions, channels, *size): the largest pixel of each bin, nought where one is empty."""
    from tvm import te, tirx

    dtype = str(data.dtype)
    extents = [int(extent) for extent in data.shape[2:]]

    def span(region: Any, axis: int, index: Any) -> tuple[Any, Any]:
        start = te.round(regions(region, 2 - axis) * scale).astype("int32")
        end = te.round(regions(region, 4 - axis) * scale).astype("int32")
        width = te.max(end - start + 1, 1).astype("float32") / float(size[axis])
        first = te.floor(index.astype("float32") * width).astype("int32") + start
        last = te.ceil((index + 1).astype("float32") * width).astype("int32") + start
        return tuple(te.max(te.min(item, extents[axis]), 0) for item in (first, last))

    def element(region: Any, channel: Any, y: Any, x: Any) -> Any:
        spans = [span(region, axis, index) for axis, index in ((0, y), (1, x))]
        axes = [
            te.reduce_axis((0, te.max(last - first, 0)), name=f"k{axis}")
            for axis, (first, last) in enumerate(spans)
        ]
        image = regions(region, 0).astype("int32")
        places = [first + axis for (first, _), axis in zip(spans, axes, strict=True)]
        return te.max(data(image, channel, *places), axis=axes)

    shape = [regions.shape[0], data.shape[1], *size]
    largest = te.compute(shape, element, name="max_roi_pool")
    nothing = tirx.min_value(dtype)
    return te.compute(
        shape,
        lambda *axes: te.if_then_else(
            largest(*axes) == nothing, tirx.const(0, dtype), largest(*axes)
        ),
        name="max_roi_pool_or_nought",
    )
