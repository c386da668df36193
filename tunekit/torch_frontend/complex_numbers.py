"""Complex numbers as pairs of real tensors, and Fourier transforms as matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm.relax import op

from tunekit.frontends.problems import Unsupported
from tunekit.torch_frontend.graph import Graph, Pair, dtype_of, shape_of
from tunekit.torch_frontend.table import (
    COMPLEX_CONVERTERS,
    CONVERTERS,
    converts_complex,
)

_LARGEST_MATRIX = 1024
"""A transform of more elements is done in two steps where its length is a product."""


def convert_complex(graph: Graph, name: str, arguments: dict[str, Any]) -> Any:
    """What an operator with complex arguments or results gives: `Pair`s and expressions."""
    converter = COMPLEX_CONVERTERS.get(name)
    if converter is not None:
        return converter(graph, **arguments)
    parts = [CONVERTERS[name](graph, **_part(arguments, which)) for which in ("real", "imag")]
    if isinstance(parts[0], list):
        return [Pair(graph.emit(a), graph.emit(b)) for a, b in zip(*parts, strict=True)]
    return Pair(*(graph.emit(part) for part in parts))


def joined(graph: Graph, value: Pair) -> Any:
    """Both parts along a last axis of 2, as `torch.view_as_real` has them."""
    parts = [graph.emit(op.expand_dims(part, [-1])) for part in (value.real, value.imag)]
    return graph.emit(op.concat(parts, axis=-1))


def _part(arguments: Any, which: str) -> Any:
    if isinstance(arguments, dict):
        return {key: _part(item, which) for key, item in arguments.items()}
    if isinstance(arguments, list):
        return [_part(item, which) for item in arguments]
    if isinstance(arguments, complex):
        return getattr(arguments, which)
    return getattr(arguments, which) if isinstance(arguments, Pair) else arguments


def _real_dtype(graph: Graph) -> str:
    """Of the parts of the node's complex result, or its result."""
    name = str(graph.result.dtype).removeprefix("torch.")
    return {"complex64": "float32", "complex128": "float64"}.get(name, name)


def _parts(graph: Graph, value: Any) -> tuple[Any, Any]:
    """Both parts of a complex or real tensor or number, in the dtype of the node's parts."""
    dtype = _real_dtype(graph)
    if isinstance(value, Pair):
        return graph.cast(value.real, dtype), graph.cast(value.imag, dtype)
    if isinstance(value, complex):
        return graph.const(value.real, dtype), graph.const(value.imag, dtype)
    return graph.cast(value, dtype), graph.const(0, dtype)


def _pair(graph: Graph, real: Any, imag: Any) -> Pair:
    """A pair of one shape."""
    real, imag = graph.emit(real), graph.emit(imag)
    shape = np.broadcast_shapes(shape_of(real), shape_of(imag))
    return Pair(graph.broadcast(real, shape), graph.broadcast(imag, shape))


@converts_complex("view_as_complex.default", "view_as_complex_copy.default")
def _view_as_complex(graph: Graph, self: Any) -> Pair:
    last = len(shape_of(self)) - 1
    halves = [graph.slice(self, last, place, place + 1) for place in (0, 1)]
    return Pair(*(graph.emit(op.squeeze(half, [last])) for half in halves))


@converts_complex("view_as_real.default", "view_as_real_copy.default")
def _view_as_real(graph: Graph, self: Pair) -> Any:
    return joined(graph, self)


@converts_complex("real.default")
def _real(graph: Graph, self: Pair) -> Any:
    return self.real


@converts_complex("imag.default")
def _imag(graph: Graph, self: Pair) -> Any:
    return self.imag


@converts_complex("complex.default")
def _complex(graph: Graph, real: Any, imag: Any) -> Pair:
    return _pair(graph, real, imag)


@converts_complex("polar.default")
def _polar(graph: Graph, abs: Any, angle: Any) -> Pair:  # noqa: A002
    return _pair(graph, op.multiply(abs, op.cos(angle)), op.multiply(abs, op.sin(angle)))


@converts_complex("_conj.default", "conj_physical.default", "_conj_physical.default")
def _conj(graph: Graph, self: Pair) -> Pair:
    return Pair(self.real, graph.emit(op.negative(self.imag)))


@converts_complex("_to_copy.default")
def _to_complex(graph: Graph, self: Any, **_: Any) -> Any:
    if not graph.result.is_complex():
        return graph.cast(self.real, _real_dtype(graph))
    return _pair(graph, *_parts(graph, self))


@converts_complex("add.Tensor", "add.Scalar")
def _add(graph: Graph, self: Any, other: Any, alpha: Any = 1) -> Pair:
    (a, b), (c, d) = _parts(graph, self), _parts(graph, other)
    factor = graph.const(alpha, _real_dtype(graph))
    return _pair(graph, op.add(a, op.multiply(c, factor)), op.add(b, op.multiply(d, factor)))


@converts_complex("sub.Tensor", "sub.Scalar")
def _sub(graph: Graph, self: Any, other: Any, alpha: Any = 1) -> Pair:
    return _add(graph, self, other, -alpha)


@converts_complex("mul.Tensor", "mul.Scalar")
def _mul(graph: Graph, self: Any, other: Any) -> Pair:
    (a, b), (c, d) = _parts(graph, self), _parts(graph, other)
    if not isinstance(other, Pair | complex):
        return _pair(graph, op.multiply(a, c), op.multiply(b, c))
    if not isinstance(self, Pair | complex):
        return _pair(graph, op.multiply(a, c), op.multiply(a, d))
    real = op.subtract(op.multiply(a, c), op.multiply(b, d))
    return _pair(graph, real, op.add(op.multiply(a, d), op.multiply(b, c)))


@converts_complex("div.Tensor", "div.Scalar")
def _div(graph: Graph, self: Any, other: Any) -> Pair:
    (a, b), (c, d) = _parts(graph, self), _parts(graph, other)
    if not isinstance(other, Pair | complex):
        return _pair(graph, op.divide(a, c), op.divide(b, c))
    size = graph.emit(op.add(op.multiply(c, c), op.multiply(d, d)))
    real = op.divide(op.add(op.multiply(a, c), op.multiply(b, d)), size)
    imag = op.divide(op.subtract(op.multiply(b, c), op.multiply(a, d)), size)
    return _pair(graph, real, imag)


@converts_complex("neg.default")
def _neg(graph: Graph, self: Pair) -> Pair:
    return Pair(graph.emit(op.negative(self.real)), graph.emit(op.negative(self.imag)))


@converts_complex("reciprocal.default")
def _reciprocal(graph: Graph, self: Pair) -> Pair:
    return _div(graph, 1.0, self)


@converts_complex("exp.default")
def _exp(graph: Graph, self: Pair) -> Pair:
    return _polar(graph, op.exp(self.real), self.imag)


@converts_complex("abs.default")
def _abs(graph: Graph, self: Pair) -> Any:
    square = op.add(op.multiply(self.real, self.real), op.multiply(self.imag, self.imag))
    return graph.emit(op.sqrt(square))


@converts_complex("angle.default")
def _angle(graph: Graph, self: Pair) -> Any:
    return graph.emit(op.atan2(self.imag, self.real))


@converts_complex("sum.default", "sum.dim_IntList", "mean.dim", "mean.default")
def _summed(graph: Graph, self: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Pair:
    operator = op.mean if "mean" in str(graph.node.target) else op.sum
    axes = None if not dim and dim != 0 else dim
    return Pair(
        *(graph.emit(operator(part, axis=axes, keepdims=keepdim)) for part in _parts(graph, self))
    )


@converts_complex("mm.default", "bmm.default", "matmul.default")
def _matmul(graph: Graph, self: Any, **other: Any) -> Pair:
    [right] = other.values()
    (a, b), (c, d) = _parts(graph, self), _parts(graph, right)
    if not isinstance(right, Pair):
        return _pair(graph, op.matmul(a, c), op.matmul(b, c))
    if not isinstance(self, Pair):
        return _pair(graph, op.matmul(a, c), op.matmul(a, d))
    real = op.subtract(op.matmul(a, c), op.matmul(b, d))
    return _pair(graph, real, op.add(op.matmul(a, d), op.matmul(b, c)))


@converts_complex("where.self")
def _where(graph: Graph, condition: Any, self: Any, other: Any) -> Pair:
    (a, b), (c, d) = _parts(graph, self), _parts(graph, other)
    return _pair(graph, op.where(condition, a, c), op.where(condition, b, d))


@converts_complex("cat.default", "stack.default")
def _cat(graph: Graph, tensors: Sequence[Any], dim: int = 0) -> Pair:
    parts = [_parts(graph, tensor) for tensor in tensors]
    axis = dim % len(graph.result.shape)
    if "stack" in str(graph.node.target):
        parts = [tuple(graph.emit(op.expand_dims(p, [axis])) for p in pair) for pair in parts]
    return Pair(*(graph.emit(op.concat(list(side), axis)) for side in zip(*parts, strict=True)))


@converts_complex("constant_pad_nd.default")
def _pad(graph: Graph, self: Pair, pad: Sequence[int], value: Any = 0) -> Pair:
    padder = CONVERTERS["constant_pad_nd.default"]
    real, imag = (complex(value).real, complex(value).imag)
    return Pair(
        graph.emit(padder(graph, self.real, pad, real)),
        graph.emit(padder(graph, self.imag, pad, imag)),
    )


# Fourier transforms.


@converts_complex("_fft_r2c.default", "_fft_c2c.default")
def _fft(
    graph: Graph,
    self: Any,
    dim: Sequence[int],
    normalization: int,
    onesided: bool = False,
    forward: bool = True,
) -> Pair:
    data, rank = self, len(graph.result.shape)
    count = math.prod(shape_of(data.real if isinstance(data, Pair) else data)[axis] for axis in dim)
    is_first = True
    # The axis of a real transform that gives only one half comes first: less is left to do.
    for axis in reversed(list(dim)):
        axis %= rank
        keep = int(graph.result.shape[axis]) if onesided and is_first else None
        data = _transformed(graph, data, axis, -1 if forward else 1, keep)
        is_first = False
    return _scaled(graph, data, _factor(normalization, count))


@converts_complex("_fft_c2r.default")
def _fft_to_real(
    graph: Graph, self: Any, dim: Sequence[int], normalization: int, last_dim_size: int
) -> Any:
    rank = len(graph.result.shape)
    *others, last = [axis % rank for axis in dim]
    data = self
    for axis in others:
        data = _transformed(graph, data, axis, 1, None)
    count = math.prod(int(graph.result.shape[axis]) for axis in dim)
    real = _half_to_real(graph, data, last, last_dim_size)
    return graph.emit(op.multiply(real, graph.const(_factor(normalization, count), dtype_of(real))))


def _factor(normalization: int, count: int) -> float:
    """torch's fft_norm_mode: none, by the root of the length, by the length."""
    return (1.0, float(count**-0.5), 1.0 / count)[normalization]


def _scaled(graph: Graph, data: Pair, factor: float) -> Pair:
    if factor == 1:
        return data
    constant = graph.const(factor, dtype_of(data.real))
    return Pair(*(graph.emit(op.multiply(part, constant)) for part in (data.real, data.imag)))


def _transformed(graph: Graph, data: Any, axis: int, sign: int, keep: int | None) -> Pair:
    """The discrete transform along an axis, of which the first `keep` elements are kept."""
    size = shape_of(data.real if isinstance(data, Pair) else data)[axis]
    if size > _LARGEST_MATRIX * 8:
        raise Unsupported(f"a Fourier transform of {size} elements")
    angles = sign * 2 * np.pi * (np.outer(np.arange(size), np.arange(keep or size)) % size) / size
    cosines, sines = np.cos(angles), np.sin(angles)
    if not isinstance(data, Pair):
        return Pair(_product(graph, data, axis, cosines), _product(graph, data, axis, sines))
    real = op.subtract(
        _product(graph, data.real, axis, cosines), _product(graph, data.imag, axis, sines)
    )
    imag = op.add(
        _product(graph, data.real, axis, sines), _product(graph, data.imag, axis, cosines)
    )
    return Pair(graph.emit(real), graph.emit(imag))


def _half_to_real(graph: Graph, data: Any, axis: int, size: int) -> Any:
    """The real signal of one half of its spectrum; what is left out are conjugates."""
    half = size // 2 + 1
    data = Pair(*(graph.slice(part, axis, 0, half) for part in (data.real, data.imag)))
    weights = np.full(half, 2.0)
    weights[0] = 1
    if size % 2 == 0:
        weights[-1] = 1
    angles = 2 * np.pi * (np.outer(np.arange(half), np.arange(size)) % size) / size
    cosines, sines = weights[:, None] * np.cos(angles), -weights[:, None] * np.sin(angles)
    return graph.emit(
        op.add(_product(graph, data.real, axis, cosines), _product(graph, data.imag, axis, sines))
    )


def _product(graph: Graph, data: Any, axis: int, matrix: np.ndarray[Any, Any]) -> Any:
    """A product with a matrix (before, after) along an axis."""
    rank, dtype = len(shape_of(data)), dtype_of(data)
    order = [*(other for other in range(rank) if other != axis), axis]
    turned = graph.permute(data, order)
    if rank == 1:
        turned = graph.reshape(turned, (1, matrix.shape[0]))
    product = graph.emit(op.matmul(turned, graph.const(matrix, dtype), out_dtype=dtype))
    if rank == 1:
        return graph.reshape(product, (matrix.shape[1],))
    return graph.permute(product, np.argsort(order).tolist())
