"""Convolutions of one to three dimensions, and transposed ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tvm.relax import op

from tunekit.frontends.dilation import dilated_kernel
from tunekit.frontends.problems import Unsupported
from tunekit.torch_frontend.graph import Graph, dtype_of, known, shape_of
from tunekit.torch_frontend.table import converts

_LAYOUTS = {1: ("NCW", "OIW", "IOW"), 2: ("NCHW", "OIHW", "IOHW"), 3: ("NCDHW", "OIDHW", "IODHW")}


@converts("convolution.default")
def _convolution(
    graph: Graph,
    input: Any,  # noqa: A002
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    rank = len(shape_of(weight)) - 2
    data = input
    is_single = len(shape_of(data)) == rank + 1
    if is_single:
        data = graph.reshape(data, (1, *shape_of(data)))
    strides, pads, dilations, more = (
        _each(value, rank) for value in (stride, padding, dilation, output_padding)
    )
    if transposed:
        result = _transposed(graph, data, weight, strides, pads, dilations, more, groups)
    else:
        result = _plain(graph, data, weight, strides, pads, dilations, groups)
    if bias is not None:
        result = op.add(result, graph.reshape(bias, (1, *shape_of(bias), *[1] * rank)))
    return graph.reshape(graph.emit(result), graph.result_shape) if is_single else result


def _each(value: Sequence[int], rank: int) -> list[int]:
    """A number for each dimension, where one may stand for all."""
    numbers = [int(number) for number in value]
    return numbers * rank if len(numbers) == 1 else numbers


def _plain(
    graph: Graph,
    data: Any,
    weight: Any,
    strides: list[int],
    pads: list[int],
    dilations: list[int],
    groups: int,
) -> Any:
    rank = len(strides)
    layout, kernel_layout, _ = _LAYOUTS[rank]
    convolve = (op.nn.conv1d, op.nn.conv2d, op.nn.conv3d)[rank - 1]
    return graph.emit(
        convolve(
            data,
            weight,
            strides=strides,
            padding=[*pads, *pads],
            dilation=dilations,
            groups=groups,
            data_layout=layout,
            kernel_layout=kernel_layout,
            out_dtype=dtype_of(data),
        )
    )


def _transposed(
    graph: Graph,
    data: Any,
    weight: Any,
    strides: list[int],
    pads: list[int],
    dilations: list[int],
    output_padding: list[int],
    groups: int,
) -> Any:
    rank = len(strides)
    layout, _, kernel_layout = _LAYOUTS[rank]
    convolve = (op.nn.conv1d_transpose, op.nn.conv2d_transpose, op.nn.conv3d_transpose)[rank - 1]
    if any(size > 1 for size in dilations):
        weight = _dilated(graph, weight, dilations)
    # An output padding of a stride or more is legal with dilation alone; TVM knows smaller ones.
    if any(more >= size for more, size in zip(output_padding, strides, strict=True)):
        raise Unsupported("an output_padding of at least the stride")
    return graph.emit(
        convolve(
            data,
            weight,
            strides=strides,
            padding=[*pads, *pads],
            output_padding=output_padding,
            dilation=[1] * rank,
            groups=groups,
            data_layout=layout,
            kernel_layout=kernel_layout,
            out_dtype=dtype_of(data),
        )
    )


def _dilated(graph: Graph, weight: Any, dilations: list[int]) -> Any:
    """A kernel with zeros between its elements."""
    array = known(weight)
    if array is None:
        raise Unsupported("a dilated transposed convolution whose kernel is computed")
    return graph.constant(torch.from_numpy(dilated_kernel(array, dilations)))
