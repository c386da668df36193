"""Kernels written in C: what depends on the values of tensors, called where other kernels are."""

from tunekit.extern_kernels.contract import ExternCode, ExternOperator, KernelTensor, Phase
from tunekit.extern_kernels.registry import operator_of, register

__all__ = [
    "ExternCode",
    "ExternOperator",
    "KernelTensor",
    "Phase",
    "operator_of",
    "register",
]
