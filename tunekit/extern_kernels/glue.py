"""Kernels in C as one source file: a function for each phase, which TVM's functions call."""

from __future__ import annotations

from collections.abc import Iterable

from tunekit.extern_kernels.contract import KernelTensor, Phase
from tunekit.extern_kernels.kernel import ExternKernel

_TYPES = {
    "float32": "float",
    "float64": "double",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def is_in_c(dtype: str) -> bool:
    """Whether C has elements of a dtype."""
    return dtype in _TYPES


def source_of(kernels: Iterable[ExternKernel]) -> str:
    """The C source of kernels, of which no two are equal."""
    kernels = list(kernels)
    headers = dict.fromkeys(header for kernel in kernels for header in kernel.code.headers)
    functions = [
        _function(kernel, number, phase)
        for kernel in kernels
        for number, phase in enumerate(kernel.code.phases)
    ]
    includes = ["#include <stdint.h>", *(f'#include "{header}"' for header in headers)]
    return "\n".join([*includes, "", *functions])


def _function(kernel: ExternKernel, number: int, phase: Phase) -> str:
    parameters = [
        *_pointers("in", kernel.inputs, "const "),
        *_pointers("out", kernel.outputs),
        *(["uint8_t *restrict workspace"] if kernel.code.workspace_bytes else []),
        "int32_t task",
        "int32_t tasks",
    ]
    # Not every phase uses all of them.
    used = " ".join(f"(void){parameter.split()[-1]};" for parameter in parameters)
    head = f"int32_t {kernel.symbol}_{number}({', '.join(parameters)})"
    return f"{head};\n{head} {{\n  {used}\n  {{\n{phase.body}\n  }}\n  return 0;\n}}\n"


def _pointers(name: str, tensors: Iterable[KernelTensor], constant: str = "") -> list[str]:
    return [
        f"{constant}{_TYPES[tensor.dtype]} *restrict {name}{number}"
        for number, tensor in enumerate(tensors)
    ]
