"""Normalizations and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm.relax import op

from tunekit.torch_frontend.graph import Graph, dtype_of, shape_of
from tunekit.torch_frontend.table import converts


def _filled(graph: Graph, value: float, shape: Sequence[int], dtype: str) -> Any:
    import numpy as np

    return graph.const(np.full(tuple(shape), value), dtype)


@converts("layer_norm.default")
def _layer_norm(
    graph: Graph,
    input: Any,  # noqa: A002
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    **_: Any,
) -> Any:
    dtype = dtype_of(input)
    scale = _filled(graph, 1, normalized_shape, dtype) if weight is None else weight
    shift = _filled(graph, 0, normalized_shape, dtype) if bias is None else bias
    axes = list(range(-len(normalized_shape), 0))
    if dtype == "float64":
        # TVM has the whole operator for no wider numbers.
        mean, inverse = _moments(graph, input, axes, eps)
        normal = graph.emit(op.multiply(op.subtract(input, mean), inverse))
        return op.add(op.multiply(normal, scale), shift)
    return op.nn.layer_norm(input, scale, shift, axes=axes, epsilon=eps)


@converts("native_layer_norm.default")
def _native_layer_norm(
    graph: Graph,
    input: Any,  # noqa: A002
    normalized_shape: Sequence[int],
    weight: Any,
    bias: Any,
    eps: float,
) -> Any:
    axes = list(range(-len(normalized_shape), 0))
    mean, inverse = _moments(graph, input, axes, eps)
    return [_layer_norm(graph, input, normalized_shape, weight, bias, eps), mean, inverse]


def _moments(graph: Graph, data: Any, axes: list[int], eps: float) -> tuple[Any, Any]:
    """The mean, and one over the standard deviation, along axes, which stay as 1."""
    mean = graph.emit(op.mean(data, axis=axes, keepdims=True))
    centred = graph.emit(op.subtract(data, mean))
    variance = op.mean(op.multiply(centred, centred), axis=axes, keepdims=True)
    return mean, graph.emit(op.rsqrt(op.add(variance, graph.const(eps, dtype_of(data)))))


@converts("rms_norm.default")
def _rms_norm(
    graph: Graph,
    input: Any,  # noqa: A002
    normalized_shape: Sequence[int],
    weight: Any = None,
    eps: float | None = None,
) -> Any:
    import torch

    dtype = dtype_of(input)
    axes = list(range(-len(normalized_shape), 0))
    # Left out it is that of the dtype that torch computes in.
    epsilon = torch.finfo(getattr(torch, dtype)).eps if eps is None else eps
    scale = _filled(graph, 1, normalized_shape, dtype) if weight is None else weight
    if len(axes) == 1:
        return op.nn.rms_norm(input, scale, axes=axes, epsilon=epsilon)
    square = op.mean(op.multiply(input, input), axis=axes, keepdims=True)
    factor = op.rsqrt(op.add(square, graph.const(epsilon, dtype)))
    return op.multiply(op.multiply(input, factor), scale)


@converts("native_group_norm.default")
def _native_group_norm(
    graph: Graph,
    input: Any,  # noqa: A002
    weight: Any,
    bias: Any,
    N: int,  # noqa: N803
    C: int,  # noqa: N803
    HxW: int,  # noqa: N803
    group: int,
    eps: float,
) -> Any:
    shape = shape_of(input)
    grouped = graph.reshape(input, (N, group, C // group * HxW))
    mean, inverse = _moments(graph, grouped, [2], eps)
    normalized = op.nn.group_norm(
        input if len(shape) > 2 else graph.reshape(input, (*shape, 1)),
        _filled(graph, 1, (C,), dtype_of(input)) if weight is None else weight,
        _filled(graph, 0, (C,), dtype_of(input)) if bias is None else bias,
        num_groups=group,
        channel_axis=1,
        axes=list(range(2, max(len(shape), 3))),
        epsilon=eps,
    )
    result = graph.reshape(graph.emit(normalized), shape)
    return [result, graph.reshape(mean, (N, group)), graph.reshape(inverse, (N, group))]


@converts("instance_norm.default")
def _instance_norm(
    graph: Graph,
    input: Any,  # noqa: A002
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    if not use_input_stats:
        of_batch = (input, weight, bias, running_mean, running_var, momentum, eps)
        return _batch_norm(graph, *of_batch)[0]
    batch, channels, *size = shape_of(input)
    sizes = (batch, channels, prod(size), channels)
    return _native_group_norm(graph, input, weight, bias, *sizes, eps)[0]


@converts("_native_batch_norm_legit_no_training.default")
def _batch_norm(
    graph: Graph,
    input: Any,  # noqa: A002
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    momentum: float,
    eps: float,
) -> Any:
    dtype = dtype_of(input)
    channels = shape_of(input)[1:2]
    results = graph.emit(
        op.nn.batch_norm(
            input,
            _filled(graph, 1, channels, dtype) if weight is None else weight,
            _filled(graph, 0, channels, dtype) if bias is None else bias,
            running_mean,
            running_var,
            axis=1,
            epsilon=eps,
            training=False,
        )
    )
    nothing = _filled(graph, 0, (0,), dtype)
    from tvm import relax

    return [graph.emit(relax.TupleGetItem(results, 0)), nothing, nothing]


@converts("_native_batch_norm_legit.no_stats", "_native_batch_norm_legit_functional.default")
def _batch_norm_of_the_batch(
    graph: Graph,
    input: Any,  # noqa: A002
    weight: Any,
    bias: Any,
    training: bool,
    momentum: float,
    eps: float,
    running_mean: Any = None,
    running_var: Any = None,
) -> Any:
    """Of the batch's own mean and variance: in training form, and as instance normalization is
    decomposed. Running statistics stay as they are: no result of the model depends on them."""
    shape = shape_of(input)
    aligned = (1, shape[1], *[1] * (len(shape) - 2))
    mean, inverse = _moments(graph, input, [0, *range(2, len(shape))], eps)
    result = op.multiply(op.subtract(input, mean), inverse)
    if weight is not None:
        result = op.multiply(result, graph.reshape(weight, aligned))
    if bias is not None:
        result = op.add(result, graph.reshape(bias, aligned))
    moments = [graph.reshape(part, shape[1:2]) for part in (mean, inverse)]
    running = [] if running_mean is None else [running_mean, running_var]
    return [result, *moments, *running]


@converts("softmax.int", "_softmax.default")
def _softmax(graph: Graph, self: Any, dim: int, **_: Any) -> Any:
    return _along(graph, op.nn.softmax, self, dim)


@converts("log_softmax.int", "_log_softmax.default")
def _log_softmax(graph: Graph, self: Any, dim: int, **_: Any) -> Any:
    return _along(graph, op.nn.log_softmax, self, dim)


def _along(graph: Graph, operator: Any, data: Any, dim: int) -> Any:
    data = graph.cast(data, graph.result_dtype)
    if not shape_of(data):
        return graph.reshape(graph.emit(operator(graph.reshape(data, (1,)), axis=0)), ())
    return operator(data, axis=dim)
