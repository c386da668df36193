"""Which elements a resized axis reads, and with what weights.

Worked out in the single precision and the order of ONNX Runtime, because a coordinate that is
rounded otherwise takes another element.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tunekit.onnx_frontend.values import Array


@dataclass(frozen=True)
class ResizedAxis:
    """One axis and how it is resized.

    Attributes:
        index: of the axis.
        size, length: elements before and after.
        scale: as given, which need not be the ratio of the two.
        start, end: of the region of interest, as parts of the axis.
    """

    index: int
    size: int
    length: int
    scale: np.float32
    start: np.float32
    end: np.float32

    @property
    def is_ratio(self) -> bool:
        """Whether the scale is the ratio of the sizes."""
        return math.isclose(self.scale * self.size, self.length, rel_tol=1e-6)


@dataclass(frozen=True)
class Taps:
    """What the elements along a resized axis are made of.

    Attributes:
        axis: that is resized.
        places: (length, taps) of the elements read.
        weights: (length, taps); None for one element as it is.
        inside: (length,) whether an element lies within the input.
    """

    axis: ResizedAxis
    places: Array
    weights: Array | None
    inside: Array

    @property
    def count(self) -> int:
        return int(self.places.shape[1])


# Coordinates.


def _half_pixel(axis: ResizedAxis, x: Array) -> Array:
    return (x + np.float32(0.5)) / axis.scale - np.float32(0.5)


def _symmetric(axis: ResizedAxis, x: Array) -> Array:
    adjustment = np.float32(axis.length) / (axis.scale * np.float32(axis.size))
    center = np.float32(axis.size) / np.float32(2)
    offset = center * (np.float32(1) - adjustment)
    return offset + (x + np.float32(0.5)) / axis.scale - np.float32(0.5)


def _pytorch_half_pixel(axis: ResizedAxis, x: Array) -> Array:
    return _half_pixel(axis, x) if axis.length > 1 else np.zeros_like(x)


def _align_corners(axis: ResizedAxis, x: Array) -> Array:
    if axis.length == 1:
        return np.zeros_like(x)
    return x * np.float32(axis.size - 1) / np.float32(axis.length - 1)


def _crop(axis: ResizedAxis, x: Array) -> Array:
    last = np.float32(axis.size - 1)
    if axis.length == 1:
        return np.full_like(x, np.float32(0.5) * (axis.start + axis.end) * last)
    return axis.start * last + (x * (axis.end - axis.start)) * last / np.float32(axis.length - 1)


COORDINATES: dict[str, Callable[[ResizedAxis, Array], Array]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "tf_half_pixel_for_nn": lambda axis, x: (x + np.float32(0.5)) / axis.scale,
    "asymmetric": lambda axis, x: x / axis.scale,
    "align_corners": _align_corners,
    "tf_crop_and_resize": _crop,
}


# Which elements, and with what weights.


def taps_of(
    axis: ResizedAxis,
    mode: str,
    coordinates: str,
    nearest: str,
    *,
    antialias: bool,
    coefficient: float,
    excludes: bool,
) -> Taps:
    """What each element of a resized axis is made of.

    Args:
        axis: that is resized.
        mode: "nearest", "linear" or "cubic".
        coordinates: a name of `COORDINATES`.
        nearest: how a coordinate becomes an index, a name of `NEAREST`.
        antialias: whether the filter is as wide as what the output's elements cover.
        coefficient: of the cubic kernel.
        excludes: whether elements outside have no weight, in place of the ones at the border.
    """
    x = np.arange(axis.length, dtype=np.float32)
    if axis.scale != 1:
        x = COORDINATES[coordinates](axis, x).astype(np.float32)
    inside = (x >= 0) & (x <= axis.size - 1)
    weights: Array | None
    if mode == "nearest":
        places, weights = NEAREST[nearest](axis, x)[:, None], None
    elif antialias:
        places, weights = _antialiased(axis, x, mode, coefficient)
    elif mode == "linear":
        x = np.clip(x, 0, axis.size - 1)
        low = np.floor(x)
        places, weights = low[:, None] + [0, 1], np.stack([low + 1 - x, x - low], 1)
        weights[low == axis.size - 1] = 0.5  # of one element twice
    else:
        low = np.floor(x)
        places = low[:, None] + np.arange(-1, 3)
        weights = _cubic(x[:, None] - places, coefficient)
    if weights is not None:
        if excludes and (mode == "cubic" or antialias):
            weights = np.where((places >= 0) & (places < axis.size), weights, 0)
            weights = weights / weights.sum(1, keepdims=True)
        weights = weights.astype(np.float32)
    return Taps(axis, np.clip(places, 0, axis.size - 1).astype(np.int64), weights, inside)


def _simple(axis: ResizedAxis, x: Array) -> Array:
    return np.ceil(x) if axis.scale < 1 else np.trunc(x)


NEAREST: dict[str, Callable[[ResizedAxis, Array], Array]] = {
    # Without adding a half, whose sum may be rounded up.
    "round_prefer_floor": lambda axis, x: np.floor(x) + (x - np.floor(x) > 0.5),
    "round_prefer_ceil": lambda axis, x: np.floor(x) + (x - np.floor(x) >= 0.5),
    "floor": lambda axis, x: np.floor(x),
    "ceil": lambda axis, x: np.ceil(x),
    "simple": _simple,
}


def _antialiased(axis: ResizedAxis, x: Array, mode: str, a: float) -> tuple[Array, Array]:
    """A filter that is as wide as the elements of the output are, measured in the input's."""
    stretch = max(np.float32(1) / axis.scale, np.float32(1))
    support = np.float32(1 if mode == "linear" else 2) * stretch
    center = x + np.float32(0.5)
    first = np.floor(center - support + np.float32(0.5))
    last = np.floor(center + support + np.float32(0.5))
    places = first[:, None] + np.arange(int((last - first).max()))
    distance = (places - center[:, None] + np.float32(0.5)) / stretch
    weights = np.maximum(1 - np.abs(distance), 0) if mode == "linear" else _cubic(distance, a)
    weights = np.where(places < last[:, None], weights, 0)
    return places, weights / weights.sum(1, keepdims=True)


def _cubic(distance: Array, a: float) -> Array:
    """Keys' kernel, "Cubic convolution interpolation for digital image processing" (1981)."""
    d = np.abs(distance.astype(np.float64))
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))
