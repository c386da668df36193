"""Fourier transforms, as products with the matrix of their twiddle factors."""

from __future__ import annotations

import math

import numpy as np

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.padding import padded
from tunekit.onnx_frontend.operators.shapes import reshaped
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Array, Value, shape_of

# The matrix of so many numbers is 256 MB in single precision.
_LARGEST = 1 << 26


@converts("DFT")
def _dft(node: OnnxNode) -> Value:
    """Along one axis; the last holds a real number, or its real and imaginary part."""
    shape = node.shape()
    rank = len(shape)
    default = 1 if node.version < 20 else -2
    axis = int(node.attribute("axis", default))
    if node.has(2):
        axis = int(node.known(2, "axis").reshape(()))
    axis = axis % rank
    length = int(node.known(1, "dft_length").reshape(())) if node.has(1) else shape[axis]
    inverse, one_sided = bool(node.attribute("inverse")), bool(node.attribute("onesided"))
    value = node.value(0)
    if shape[axis] != length:
        # Shortened, or filled up with noughts.
        after = [length - size if item == axis else 0 for item, size in enumerate(shape)]
        value = padded(node, value, [0] * rank, after)
    # (..., the axis times the parts): one row for each transform.
    order = [item for item in range(rank - 1) if item != axis] + [axis, rank - 1]
    rows = node.call("Transpose", value, perm=order)
    outer = [shape[item] for item in order[:-2]]
    rows = reshaped(node, rows, [math.prod(outer), length * shape[-1]])
    if inverse and one_sided:
        raise Unsupported("it is an inverse transform of one side")
    count = length // 2 + 1 if one_sided else length
    matrix = _twiddles(length, count, shape[-1], inverse).astype(node.dtype())
    result = reshaped(node, node.call("MatMul", rows, matrix), [*outer, count, 2])
    back = [order.index(item) for item in range(rank)]
    return node.call("Transpose", result, perm=back)


def _twiddles(length: int, count: int, parts: int, inverse: bool) -> Array:
    """(length * parts, count * 2): from numbers, real or complex, to complex ones."""
    if length * parts * count * 2 > _LARGEST:
        raise Unsupported(
            f"it transforms {length} numbers at once",
            "cut the signal into frames (STFT), or transform it before the model",
        )
    # Modulo the length before it is a float, or long transforms lose digits.
    turns = np.outer(np.arange(length), np.arange(count)) % length
    angle = (2 if inverse else -2) * np.pi / length * turns
    cosine, sine = np.cos(angle), np.sin(angle)
    # A real part goes to (cos, sin), an imaginary one to (-sin, cos).
    real = np.stack([cosine, sine], -1)[:, None]
    matrix = (
        real if parts == 1 else np.concatenate([real, np.stack([-sine, cosine], -1)[:, None]], 1)
    )
    return matrix.reshape(length * parts, count * 2) / (length if inverse else 1)


@converts("STFT")
def _stft(node: OnnxNode) -> Value:
    """Frames of the signal, times the window, transformed: (batch, frames, bins, 2)."""
    signal, shape = node.value(0), node.shape()
    step = int(node.known(1, "frame_step").reshape(()))
    window = node.value(2)
    length = int(node.known(3, "frame_length").reshape(())) if node.has(3) else 0
    length = length or shape_of(window)[0]
    parts = shape[2] if len(shape) > 2 else 1
    one_sided = bool(node.attribute("onesided", 1))
    count = (shape[1] - length) // step + 1
    places = np.arange(count)[:, None] * step + np.arange(length)
    frames = node.call("Gather", signal, places.astype(np.int64), axis=1)
    if window is not None:
        aligned = reshaped(node, window, [length, 1])
        frames = reshaped(node, frames, [shape[0], count, length, parts])
        frames = node.call("Mul", frames, aligned)
    rows = reshaped(node, frames, [shape[0] * count, length * parts])
    bins = length // 2 + 1 if one_sided else length
    matrix = _twiddles(length, bins, parts, inverse=False).astype(node.dtype())
    return reshaped(node, node.call("MatMul", rows, matrix), [shape[0], count, bins, 2])


@converts("MelWeightMatrix")
def _mel_weights(node: OnnxNode) -> Value:
    """Sizes and frequencies are known in every model that makes sense, and then evaluated."""
    for index in range(len(node.inputs)):
        node.known(index, "size")
    raise Unsupported("ONNX Runtime does not compute it from these numbers")
