"""Operators in C, built by the system's compiler and called beside their definitions in torch."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunekit.extern_kernels import KernelTensor, operator_of
from tunekit.extern_kernels.glue import source_of
from tunekit.extern_kernels.kernel import ExternKernel
from tunekit.standalone.build import Toolchain

C = Path(__file__).parent.parent.parent / "tunekit" / "extern_kernels" / "c"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffp-contract=off", "-fPIC")
_GUARD = 64
_FILL = 0xAB

Array = np.ndarray[Any, Any]
Values = Mapping[str, Array | Sequence[Array]]


def tensor(*shape: int, dtype: str = "float32", block: int = 1) -> KernelTensor:
    """A tensor of an operator."""
    return KernelTensor(shape, dtype, block)


@dataclass(frozen=True)
class Use:
    """An operator with its arguments.

    Attributes:
        operator: its name.
        tensors: those that it reads, by name.
        attributes: its other arguments.
        block: in what blocks its first output is.
    """

    operator: str
    tensors: Mapping[str, KernelTensor | Sequence[KernelTensor]]
    attributes: Mapping[str, Any]
    block: int = 1

    def kernel(self) -> ExternKernel:
        """Its C."""
        operator = operator_of(self.operator)
        assert operator is not None
        lists = {
            name: len(given)
            for name, given in self.tensors.items()
            if not isinstance(given, KernelTensor)
        }
        blank = {
            name: _each(given, lambda tensor: np.zeros(tensor.shape, tensor.dtype))
            for name, given in self.tensors.items()
        }
        outputs = [KernelTensor(array.shape, str(array.dtype)) for array in self.in_torch(blank)]
        outputs[0] = KernelTensor(outputs[0].shape, outputs[0].dtype, self.block)
        inputs = _flat(self.tensors.values())
        return ExternKernel.of(operator, inputs, outputs, {**self.attributes, **lists})

    def in_torch(self, values: Values) -> list[Array]:
        """What its definition gives."""
        given = {name: _each(value, torch.from_numpy) for name, value in values.items()}
        result = getattr(torch.ops.tunekit, self.operator)(**given, **self.attributes)
        results = result if isinstance(result, tuple) else (result,)
        return [tensor.numpy() for tensor in results]


class OperatorsInC:
    """A library of operators in C."""

    def __init__(self, uses: Sequence[Use], folder: Path, compiler: str, *options: str) -> None:
        self.kernels = {id(use): use.kernel() for use in uses}
        kernels = list({kernel.symbol: kernel for kernel in self.kernels.values()}.values())
        glue = folder / "glue.c"
        glue.write_text(source_of(kernels))
        sources = sorted({source for kernel in kernels for source in kernel.code.sources})
        library = folder / "operators.so"
        Toolchain(compiler).call(
            *(*STRICT, *options, "-shared", "-I", str(C), "-o", str(library), str(glue)),
            *(*(str(C / source) for source in sources), "-lm"),
        )
        self.library = ctypes.CDLL(str(library))

    def run(self, use: Use, values: Values, *, threads: int = 1) -> list[Array]:
        """What the C gives; it must write all of its outputs, and nothing beside its memory."""
        kernel = self.kernels[id(use)]
        arrays = _flat(
            value if isinstance(value, np.ndarray) else list(value)
            for value in (values[name] for name in use.tensors)
        )
        inputs = [
            in_blocks(array, tensor.block)
            for array, tensor in zip(arrays, kernel.inputs, strict=True)
        ]
        outputs = [np.full(tensor.stored, 0, tensor.dtype) for tensor in kernel.outputs]
        for output in outputs:
            output.view(np.uint8)[...] = _FILL
        buffers = [*inputs, *outputs]
        size = kernel.code.workspace_bytes
        memory = np.full(size + 3 * _GUARD, _FILL, np.uint8)
        start = -memory.ctypes.data % _GUARD + _GUARD
        pointers = [ctypes.c_void_p(buffer.ctypes.data) for buffer in buffers]
        if size:
            pointers.append(ctypes.c_void_p(memory.ctypes.data + start))
        for number, phase in enumerate(kernel.code.phases):
            function = getattr(self.library, f"{kernel.symbol}_{number}")
            tasks = list(range(phase.tasks))
            random.Random(threads).shuffle(tasks)

            def call(task: int, function: Any = function, tasks: int = phase.tasks) -> None:
                function(*pointers, ctypes.c_int32(task), ctypes.c_int32(tasks))

            if threads == 1:
                for task in tasks:
                    call(task)
            else:
                with ThreadPoolExecutor(threads) as pool:
                    list(pool.map(call, tasks))
        assert (memory[:start] == _FILL).all()
        assert (memory[start + size :] == _FILL).all()
        return [
            out_of_blocks(output, tensor)
            for output, tensor in zip(outputs, kernel.outputs, strict=True)
        ]


def in_blocks(array: Array, block: int) -> Array:
    """NCHW in blocks of channels; what is behind the last channel is NaN."""
    array = np.ascontiguousarray(array)
    if block == 1:
        return array
    batch, channels, *places = array.shape
    blocks = -(-channels // block)
    padded = np.full((batch, blocks * block, *places), np.nan, array.dtype)
    padded[:, :channels] = array
    split = padded.reshape(batch, blocks, block, *places)
    return np.ascontiguousarray(np.moveaxis(split, 2, -1))


def out_of_blocks(array: Array, tensor: KernelTensor) -> Array:
    """The reverse."""
    if tensor.block == 1:
        return array
    batch, channels, *places = tensor.shape
    return np.moveaxis(array, -1, 2).reshape(batch, -1, *places)[:, :channels]


def _each(value: Any, function: Any) -> Any:
    return [function(one) for one in value] if isinstance(value, list | tuple) else function(value)


def _flat(values: Any) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat.extend(value if isinstance(value, list | tuple) else [value])
    return flat
