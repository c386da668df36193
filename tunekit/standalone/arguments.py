"""The arrays that a call gives a model, in the model's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from tunekit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]


class TensorLike(Protocol):
    """What describes an input: its name, its sizes and NumPy's name of its elements' type."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...


def in_order(
    tensors: Sequence[TensorLike], arrays: Sequence[Array], named: Mapping[str, Array]
) -> list[Array]:
    """The inputs in order, contiguous.

    Args:
        tensors: the model's inputs.
        arrays: all of them in this order, or none.
        named: the inputs by name, where no `arrays` are given.

    Raises:
        UsageError: names everything that is wrong with them.
    """
    import numpy as np

    if arrays and (named or len(arrays) != len(tensors)):
        given = f"{len(arrays)} in order{' and others by name' if named else ''}"
        raise UsageError(f"the model has {len(tensors)} inputs ({_wants(tensors)}); given: {given}")
    names = [tensor.name for tensor in tensors]
    values = dict(zip(names, arrays, strict=True)) if arrays else named
    problems = [f"{name}: no such input" for name in values if name not in names]
    inputs = []
    for tensor in tensors:
        if tensor.name not in values:
            problems.append(f"{tensor.name}: missing")
            continue
        array = value = values[tensor.name]
        if not (isinstance(value, np.ndarray) and value.flags.c_contiguous):
            array = np.ascontiguousarray(value).reshape(np.shape(value))
        inputs.append(array)
        if array.shape != tensor.shape:
            problems.append(f"{tensor.name}: shape {list(array.shape)}, not {list(tensor.shape)}")
        if array.dtype != tensor.dtype:
            problems.append(f"{tensor.name}: {array.dtype}, not {tensor.dtype}")
    if problems:
        raise UsageError(
            f"the inputs do not fit: {'; '.join(problems)}",
            hint=f"the model takes {_wants(tensors)}",
        )
    return inputs


def _wants(tensors: Sequence[TensorLike]) -> str:
    return ", ".join(f"{tensor.name}: {tensor.dtype}{list(tensor.shape)}" for tensor in tensors)


def by_name(tensors: Sequence[TensorLike], outputs: Sequence[Array]) -> Array | dict[str, Array]:
    """The output where a model has one, else the outputs by name."""
    if len(outputs) == 1:
        return outputs[0]
    return {tensor.name: array for tensor, array in zip(tensors, outputs, strict=True)}
