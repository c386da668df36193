"""The Relax function under construction, as converters see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND as PROMOTION
from torch._prims_common import elementwise_dtypes
from tvm import relax

from tunekit.frontends.problems import Unsupported
from tunekit.ir.relax import constant_value, static_shape

_FLOATS = ("float", "bfloat")
_UNSIGNED_MASK = {"uint8", "uint16", "uint32", "uint64"}


@dataclass(frozen=True)
class Pair:
    """A complex tensor: two real ones of one shape."""

    real: Any
    imag: Any


class Graph:
    """Emits operators into the function; knows the node that is being converted.

    Attributes:
        builder: of the function.
        is_single: whether floating-point numbers of any width are computed in float32.
        node: of the traced graph.
    """

    def __init__(self, builder: relax.BlockBuilder, *, is_single: bool = False) -> None:
        self.builder = builder
        self.is_single = is_single
        self.node: Any = None
        self._constants: dict[int, tuple[torch.Tensor, Any]] = {}

    @property
    def result(self) -> Any:
        """What the node gives: a fake tensor, or a tuple of them."""
        return self.node.meta["val"]

    @property
    def result_shape(self) -> tuple[int, ...]:
        """The shape of the node's only result."""
        return tuple(int(size) for size in self.result.shape)

    @property
    def result_dtype(self) -> str:
        """The dtype of the node's only result; float32 in place of a shorter float."""
        return self.computed(computing_name(self.result.dtype))

    def computed(self, dtype: str) -> str:
        """The dtype that numbers of this one are computed in."""
        return "float32" if self.is_single and dtype.startswith(_FLOATS) else dtype

    def emit(self, expr: Any) -> Any:
        """A variable bound to an expression, of known shape."""
        return self.builder.emit(expr)

    def emit_te(
        self, function: Callable[..., Any], *tensors: Any, name: str, **keywords: Any
    ) -> Any:
        """A variable bound to a kernel that a function of tensor expressions makes; the keywords
        are the function's."""
        return self.builder.emit_te(
            lambda *inputs: function(*inputs, **keywords), *tensors, primfunc_name_hint=name
        )

    def constant(self, tensor: torch.Tensor) -> Any:
        """A constant of the tensor's value; the same for the same tensor, so that it is stored
        once."""
        if not tensor.numel():
            # TVM cannot store a constant without elements.
            dtype = self.computed(dtype_name(tensor.dtype))
            return self.emit(relax.op.zeros(tuple(tensor.shape), dtype))
        kept = self._constants.get(id(tensor))
        if kept is None:
            plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
            plain = plain.float() if self.is_single and plain.is_floating_point() else plain
            array = plain.numpy()
            kept = self._constants[id(tensor)] = (tensor, relax.const(array, str(array.dtype)))
        return kept[1]

    def const(self, value: Any, dtype: str) -> Any:
        """A constant of numbers in this dtype."""
        dtype = self.computed(dtype)
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().numpy()
        return relax.const(np.asarray(value).astype(dtype), dtype)

    def cast(self, value: Any, dtype: str) -> Any:
        """A tensor or number in this dtype; true and false are 1 and 0, all but 0 is true."""
        dtype = self.computed(dtype)
        if isinstance(value, int | float | bool):
            return self.const(value, dtype)
        if dtype_of(value) == dtype:
            return value
        if dtype in _UNSIGNED_MASK and dtype_of(value).startswith("float"):
            # As C does on this processor: by way of a wider signed integer, not saturated.
            value = self.emit(relax.op.astype(value, "int64"))
        return self.emit(relax.op.astype(value, dtype))

    def reshape(self, value: Any, shape: Sequence[int]) -> Any:
        if shape_of(value) == tuple(shape):
            return value
        return self.emit(relax.op.reshape(value, tuple(shape)))

    def broadcast(self, value: Any, shape: Sequence[int]) -> Any:
        if shape_of(value) == tuple(shape):
            return value
        return self.emit(relax.op.broadcast_to(value, tuple(shape)))

    def permute(self, value: Any, axes: Sequence[int]) -> Any:
        if list(axes) == list(range(len(axes))):
            return value
        return self.emit(relax.op.permute_dims(value, list(axes)))

    def slice(self, value: Any, axis: int, begin: int, end: int, step: int = 1) -> Any:
        """`value[begin:end:step]` along an axis; bounds within it, begin before end."""
        if (begin, end, step) == (0, shape_of(value)[axis], 1):
            return value
        return self.emit(relax.op.strided_slice(value, [axis], [begin], [end], [step]))

    def take(self, value: Any, indices: Any, axis: int) -> Any:
        """Elements at indices along an axis; beyond it, its first or last one."""
        if isinstance(indices, torch.Tensor | np.ndarray | list):
            indices = self.const(indices, "int32")
        return self.emit(relax.op.take(value, indices, axis, mode="clip"))

    def computing_dtype(self, *values: Any, kind: Any = PROMOTION.DEFAULT) -> str:
        """The dtype in which torch computes an elementwise operator on these arguments of the
        node."""
        dtype = elementwise_dtypes(*values, type_promotion_kind=kind)[0]
        return self.computed(computing_name(dtype))


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an expression; all are known."""
    shape = static_shape(value)
    if shape is None:
        raise Unsupported("a size that depends on values")
    return shape


def dtype_of(value: Any) -> str:
    """The dtype of an expression."""
    return str(value.ty.dtype)


def known(value: Any) -> np.ndarray[Any, Any] | None:
    """The array of a constant, None for anything else."""
    return constant_value(value)


def dtype_name(dtype: torch.dtype) -> str:
    """torch's name of a dtype as Relax has it."""
    return str(dtype).removeprefix("torch.")


def computing_name(dtype: torch.dtype) -> str:
    """The same, with float32 in place of shorter floats: what torch computes them in."""
    return "float32" if is_short(dtype) else dtype_name(dtype)


def is_short(dtype: torch.dtype) -> bool:
    return dtype in (torch.float16, torch.bfloat16)


def axes_of(dim: Any, rank: int) -> list[int]:
    """An argument `dim` as axes from the start: all of them where it is None or empty."""
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return list(range(rank))
    dims = [dim] if isinstance(dim, int) else list(dim)
    return [int(axis) % max(rank, 1) for axis in dims] if rank else []
