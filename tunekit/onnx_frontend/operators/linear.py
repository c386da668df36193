"""Matrix products and convolutions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import relax

from tunekit.frontends.dilation import dilated_kernel
from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.operators.padding import padded
from tunekit.onnx_frontend.operators.shapes import reshaped, sliced
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value, dtype_of, shape_of

_CONVOLUTIONS = {1: relax.op.nn.conv1d, 2: relax.op.nn.conv2d, 3: relax.op.nn.conv3d}
_TRANSPOSED = {
    1: relax.op.nn.conv1d_transpose,
    2: relax.op.nn.conv2d_transpose,
    3: relax.op.nn.conv3d_transpose,
}


@converts("MatMul")
def _matmul(node: OnnxNode) -> Value:
    return relax.op.matmul(node.tensor(0), node.tensor(1))


@converts("Gemm")
def _gemm(node: OnnxNode) -> Value:
    left, right, dtype = node.value(0), node.value(1), node.dtype()
    if node.attribute("transA"):
        left = node.call("Transpose", left)
    if node.attribute("transB"):
        right = node.call("Transpose", right)
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    product = node.call("MatMul", left, right)
    if alpha != 1:
        product = node.call("Mul", product, np.array(alpha, dtype))
    if not node.has(2) or beta == 0:
        return product
    bias = node.value(2)
    if beta != 1:
        bias = node.call("Mul", bias, np.array(beta, dtype))
    return node.call("Add", product, bias)


def windows(
    node: OnnxNode, sizes: tuple[int, ...], kernel: list[int]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Strides, dilations, padding before and padding after of a convolution or pooling.

    Args:
        node: whose attributes say it.
        sizes: of the input's spatial axes.
        kernel: of the window.
    """
    rank = len(kernel)
    strides = [int(size) for size in node.attribute("strides") or [1] * rank]
    dilations = [int(size) for size in node.attribute("dilations") or [1] * rank]
    automatic = node.attribute("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        pads = [int(size) for size in node.attribute("pads") or [0] * (2 * rank)]
        return strides, dilations, pads[:rank], pads[rank:]
    if automatic == "VALID":
        return strides, dilations, [0] * rank, [0] * rank
    before, after = [], []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        count = -(-size // stride)
        total = max((count - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        smaller, larger = total // 2, total - total // 2
        before.append(larger if automatic == "SAME_LOWER" else smaller)
        after.append(smaller if automatic == "SAME_LOWER" else larger)
    return strides, dilations, before, after


@converts("Conv")
def _conv(node: OnnxNode) -> Value:
    kernel = list(node.shape(1)[2:])
    rank = len(kernel)
    if rank not in _CONVOLUTIONS:
        raise Unsupported(f"it has {rank} spatial axes; one to three are possible")
    strides, dilations, before, after = windows(node, node.shape()[2:], kernel)
    data = node.value(0)
    if min(*before, *after) < 0:
        data = padded(node, data, [0, 0, *before], [0, 0, *after])
        before, after = [0] * rank, [0] * rank
    result = node.emit(
        _CONVOLUTIONS[rank](
            node.expr(data),
            node.tensor(1),
            strides=strides,
            padding=[*before, *after],
            dilation=dilations,
            groups=int(node.attribute("group", 1)),
        )
    )
    return _with_bias(node, result, rank)


def _with_bias(node: OnnxNode, result: Any, rank: int) -> Value:
    if not node.has(2):
        return result
    return node.call("Add", result, reshaped(node, node.value(2), [1, -1, *[1] * rank]))


@converts("ConvTranspose")
def _conv_transpose(node: OnnxNode) -> Value:
    """`stride * (in - 1) + output_padding + (kernel - 1) * dilation + 1 - pads` an axis."""
    sizes, kernel = node.shape()[2:], list(node.shape(1)[2:])
    rank = len(kernel)
    if rank not in _TRANSPOSED:
        raise Unsupported(f"it has {rank} spatial axes; one to three are possible")
    strides = [int(size) for size in node.attribute("strides") or [1] * rank]
    dilations = [int(size) for size in node.attribute("dilations") or [1] * rank]
    weights = _dilated(node, node.value(1), dilations)
    extra = [int(size) for size in node.attribute("output_padding") or [0] * rank]
    reach = [
        (window - 1) * dilation + 1 for window, dilation in zip(kernel, dilations, strict=True)
    ]
    full = [
        stride * (size - 1) + extent
        for stride, size, extent in zip(strides, sizes, reach, strict=True)
    ]
    before, after = _transposed_pads(node, sizes, strides, full, extra)
    # What the operator cannot do itself is cut off, or added, afterwards.
    simple = all(
        0 <= first < extent and 0 <= last < extent and 0 <= more < max(stride, 1)
        for first, last, extent, more, stride in zip(
            before, after, reach, extra, strides, strict=True
        )
    )
    pads = [*before, *after] if simple else [0] * (2 * rank)
    result = node.emit(
        _TRANSPOSED[rank](
            node.tensor(0),
            node.expr(weights),
            strides=strides,
            padding=pads,
            output_padding=extra if simple else [0] * rank,
            groups=int(node.attribute("group", 1)),
        )
    )
    if not simple:
        ends = [more - last for more, last in zip(extra, after, strict=True)]
        result = padded(node, result, [0, 0, *(-first for first in before)], [0, 0, *ends])
    return _with_bias(node, node.expr(result), rank)


def _transposed_pads(
    node: OnnxNode, sizes: tuple[int, ...], strides: list[int], full: list[int], extra: list[int]
) -> tuple[list[int], list[int]]:
    rank = len(sizes)
    automatic = node.attribute("auto_pad", "NOTSET")
    given = node.attribute("output_shape")
    if given is None and automatic in ("NOTSET", "", "VALID"):
        pads = [int(size) for size in node.attribute("pads") or [0] * (2 * rank)]
        return (pads[:rank], pads[rank:]) if automatic != "VALID" else ([0] * rank, [0] * rank)
    target = (
        [size * stride for size, stride in zip(sizes, strides, strict=True)]
        if given is None
        else [int(size) for size in given[-rank:]]
    )
    before, after = [], []
    for extent, more, wanted in zip(full, extra, target, strict=True):
        total = extent + more - wanted
        if total < 0:
            # What is wanted beyond the result is zeros behind it; by itself nothing is added.
            before.append(0)
            after.append(0 if given is None else total)
            continue
        smaller, larger = total // 2, total - total // 2
        before.append(smaller if automatic == "SAME_UPPER" else larger)
        after.append(larger if automatic == "SAME_UPPER" else smaller)
    return before, after


def _dilated(node: OnnxNode, weights: Value, dilations: list[int]) -> Value:
    """Weights with zeros between them, which TVM's transposed convolutions cannot imagine."""
    if all(dilation == 1 for dilation in dilations):
        return weights
    return dilated_kernel(node.known(1, "dilated weights"), dilations)


@converts("Einsum")
def _einsum(node: OnnxNode) -> Value:
    equation = str(node.attribute("equation")).replace(" ", "")
    product = _as_product(node, equation)
    if product is not None:
        return product
    return relax.op.einsum(tuple(map(node.expr, node.inputs)), _explicit(node, equation))


def _explicit(node: OnnxNode, equation: str) -> str:
    """With the result's axes, and letters in place of an ellipsis."""
    terms, arrow, result = equation.partition("->")
    inputs = terms.split(",")
    letters = set(equation)
    free = [
        letter
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        if letter not in letters
    ]
    ranks = [
        len(node.shape(index)) - len(term.replace("...", ""))
        for index, term in enumerate(inputs)
        if "..." in term
    ]
    names = "".join(free[: max(ranks, default=0)])
    inputs = [
        term.replace("...", names[len(names) - (len(node.shape(index)) - len(term) + 3) :])
        if "..." in term
        else term
        for index, term in enumerate(inputs)
    ]
    if arrow:
        result = result.replace("...", names)
    else:
        flat = "".join(inputs)
        own = sorted(letter for letter in set(flat) - set(names) if flat.count(letter) == 1)
        result = names + "".join(own)
    return f"{','.join(inputs)}->{result}"


def _as_product(node: OnnxNode, equation: str) -> Value | None:
    """A product of two tensors as a batched matrix product, which can be scheduled well."""
    if len(node.inputs) != 2:
        return None
    terms, result = _explicit(node, equation).split("->")
    left, right = terms.split(",")
    if any(len(set(term)) < len(term) for term in (left, right, result)):
        return None
    sizes = dict(zip(left, node.shape(0), strict=True))
    for letter, size in zip(right, node.shape(1), strict=True):
        if sizes.setdefault(letter, size) != size:
            return None
    batch = [letter for letter in left if letter in right and letter in result]
    summed = [letter for letter in left if letter in right and letter not in result]
    rows = [letter for letter in left if letter not in right]
    columns = [letter for letter in right if letter not in left]
    if not summed or not set(rows + columns) <= set(result):
        return None

    def matrix(index: int, term: str, first: list[str], second: list[str]) -> Value:
        order = [term.index(letter) for letter in batch + first + second]
        moved = node.call("Transpose", node.value(index), perm=order)
        extents = [math.prod(sizes[letter] for letter in part) for part in (batch, first, second)]
        return reshaped(node, moved, extents if batch else extents[1:])

    product = node.call("MatMul", matrix(0, left, rows, summed), matrix(1, right, summed, columns))
    axes = batch + rows + columns
    wide = reshaped(node, product, [sizes[letter] for letter in axes])
    return node.call("Transpose", wide, perm=[axes.index(letter) for letter in result])


@converts("Det")
def _det(node: OnnxNode) -> Value:
    """By Laplace's expansion: for matrices of transformations, which are small."""
    size = node.shape()[-1]
    if size > 4:
        raise Unsupported(f"the matrices are {size}x{size}; up to 4x4 is possible")
    return _determinant(node, node.value(0), list(range(size)), 0)


def _determinant(node: OnnxNode, matrix: Value, columns: list[int], row: int) -> Value:
    shape = shape_of(matrix)
    total: Value = None
    for place, column in enumerate(columns):
        taken = {len(shape) - 2: range(row, row + 1), len(shape) - 1: range(column, column + 1)}
        term = reshaped(node, sliced(node, matrix, taken, shape), list(shape[:-2]))
        rest = [other for other in columns if other != column]
        if rest:
            term = node.call("Mul", term, _determinant(node, matrix, rest, row + 1))
        sign = "Sub" if place % 2 else "Add"
        total = term if total is None else node.call(sign, total, term)
    return total if total is not None else np.ones(shape[:-2], dtype_of(matrix))
