"""Interpolation of images: each axis by itself, with the weights that torch itself has for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tvm.relax import op

from tunekit.frontends.problems import Unsupported
from tunekit.torch_frontend.converters.elementwise import is_float
from tunekit.torch_frontend.graph import Graph, dtype_of, shape_of
from tunekit.torch_frontend.table import converts

_MOST_TAPS = 4
"""Above so many elements for one, a product with the matrix of weights."""
_TOLERANCE = 1e-6


@converts("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec",
          "upsample_nearest1d.default", "upsample_nearest2d.default", "upsample_nearest3d.default",
          "_upsample_nearest_exact1d.vec", "_upsample_nearest_exact2d.vec",
          "_upsample_nearest_exact3d.vec", "_upsample_nearest_exact1d.default",
          "_upsample_nearest_exact2d.default", "_upsample_nearest_exact3d.default",
          "upsample_linear1d.vec", "upsample_bilinear2d.vec", "upsample_trilinear3d.vec",
          "upsample_linear1d.default", "upsample_bilinear2d.default",
          "upsample_trilinear3d.default", "upsample_bicubic2d.vec", "upsample_bicubic2d.default",
          "_upsample_bilinear2d_aa.vec", "_upsample_bilinear2d_aa.default",
          "_upsample_bicubic2d_aa.vec", "_upsample_bicubic2d_aa.default",
          "_upsample_lanczos2d_aa.default", "_upsample_lanczos2d_aa.vec")  # fmt: skip
def _upsample(graph: Graph, **arguments: Any) -> Any:
    data = arguments.pop("self", None)
    data = arguments.pop("input", None) if data is None else data
    name = str(graph.node.target).split(".")[1]
    rank = next(int(char) for char in name if char.isdigit())
    sizes = shape_of(data)[2:]
    wanted = graph.result_shape[2:]
    if "nearest" not in name and not is_float(dtype_of(data)):
        raise Unsupported(
            f"interpolation of {dtype_of(data)}, which torch rounds between its steps",
            hint="convert the image to float32 before it is resized",
        )
    corners = bool(arguments.get("align_corners"))
    scales = _scales(arguments, rank)
    whole = _whole(name, sizes, wanted, scales, corners)
    if whole is not None:
        return op.image.resize2d(data, tuple(wanted), layout="NCHW", **whole)
    dtype = dtype_of(data)
    for place, (size, count, scale) in enumerate(zip(sizes, wanted, scales, strict=True)):
        matrix = _matrix(name, size, count, corners, scale)
        data = _resized_along(graph, data, 2 + place, matrix, dtype)
    return data


def _scales(arguments: dict[str, Any], rank: int) -> list[float | None]:
    """The factor of each axis where one was given, which decides over the sizes' ratio."""
    factors = arguments.get("scale_factors")
    if factors is not None:
        return [float(factor) for factor in factors]
    names = {1: ["scales"], 2: ["scales_h", "scales_w"], 3: ["scales_d", "scales_h", "scales_w"]}
    return [arguments.get(name) for name in names[rank]]


def _whole(
    name: str,
    sizes: Sequence[int],
    wanted: Sequence[int],
    scales: Sequence[float | None],
    corners: bool,
) -> dict[str, Any] | None:
    """How `image.resize2d` does the same, None where it does not."""
    is_ratio = all(
        scale is None or corners or abs(scale * size - count) < _TOLERANCE
        for size, count, scale in zip(sizes, wanted, scales, strict=True)
    )
    if not is_ratio:
        return None
    if name == "upsample_bilinear2d":
        if corners and 1 in wanted:
            return None  # It divides by the steps between the corners.
        mode = "align_corners" if corners else "half_pixel"
        return {"method": "linear", "coordinate_transformation_mode": mode}
    is_whole = all(count % size == 0 for size, count in zip(sizes, wanted, strict=True))
    if name == "upsample_nearest2d" and is_whole:
        return {
            "method": "nearest_neighbor",
            "coordinate_transformation_mode": "asymmetric",
            "rounding_method": "floor",
        }
    return None


def _matrix(
    name: str, size: int, count: int, corners: bool, scale: float | None
) -> np.ndarray[Any, Any]:
    """(count, size): what each element of the result takes of each of the source, in float64.

    torch's own operator is asked, on the columns of a unit matrix.
    """
    aten = torch.ops.aten
    units = torch.eye(size, dtype=torch.float64)[None]  # one channel for each element
    # Two columns: torch 2.12 resizes a single one wrongly.
    planes = units.view(1, size, size, 1).repeat(1, 1, 1, 2)
    with_corners = {"upsample_bicubic2d": aten.upsample_bicubic2d}
    if "_aa" in name:
        operator = getattr(aten, name)
        result = operator(planes, [count, 2], corners, scale, None)[0, ..., 0]
    elif name in with_corners:
        result = with_corners[name](planes, [count, 2], corners, scale, None)[0, ..., 0]
    elif "linear" in name:
        result = aten.upsample_linear1d(units, [count], corners, scale)[0]
    elif "exact" in name:
        result = aten._upsample_nearest_exact1d(units, [count], scale)[0]
    else:
        result = aten.upsample_nearest1d(units, [count], scale)[0]
    return result.T.numpy()  # type: ignore[no-any-return]


def _resized_along(
    graph: Graph, data: Any, axis: int, matrix: np.ndarray[Any, Any], dtype: str
) -> Any:
    count, size = matrix.shape
    if count == size and np.array_equal(matrix, np.eye(size)):
        return data
    taps = int((matrix != 0).sum(1).max())
    if taps > _MOST_TAPS:
        return _by_product(graph, data, axis, matrix, dtype)
    places = np.argsort(matrix == 0, axis=1, kind="stable")[:, :taps]
    weights = np.take_along_axis(matrix, places, 1)
    aligned = (-1, *[1] * (len(shape_of(data)) - axis - 1))
    total: Any = None
    for tap in range(taps):
        part = graph.take(data, places[:, tap], axis)
        if not np.all(weights[:, tap] == 1):
            part = op.multiply(part, graph.const(weights[:, tap].reshape(aligned), dtype))
        total = part if total is None else op.add(total, part)
    return graph.emit(total) if taps > 1 else total


def _by_product(
    graph: Graph, data: Any, axis: int, matrix: np.ndarray[Any, Any], dtype: str
) -> Any:
    rank = len(shape_of(data))
    if axis == rank - 1:
        return graph.emit(op.matmul(data, graph.const(matrix.T, dtype), out_dtype=dtype))
    order = [*(other for other in range(rank) if other != axis), axis]
    turned = graph.permute(data, order)
    product = graph.emit(op.matmul(turned, graph.const(matrix.T, dtype), out_dtype=dtype))
    return graph.permute(product, np.argsort(order).tolist())
