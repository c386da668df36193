"""Operators of `torch.ops.tunekit`, which are computed in C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import tvm

from tunekit.extern_kernels import ExternOperator, KernelTensor, operator_of
from tunekit.extern_kernels.function import emit_kernel
from tunekit.extern_kernels.glue import is_in_c
from tunekit.extern_kernels.kernel import ExternKernel
from tunekit.frontends.problems import Unsupported
from tunekit.torch_frontend.graph import Graph, computing_name, dtype_of, shape_of
from tunekit.torch_frontend.table import CONVERTERS, Converter, converter_key

_NAMESPACE = "tunekit"


def know_extern_operators(graph: torch.fx.Graph) -> None:
    """Gives those operators of a graph that are computed in C their converters: which there are,
    only a model's own code says."""
    for node in graph.nodes:
        target = node.target
        if not isinstance(target, torch._ops.OpOverload) or target.namespace != _NAMESPACE:
            continue
        operator = operator_of(target._schema.name.partition("::")[2])
        if operator is not None:
            CONVERTERS[converter_key(target)] = _converter(operator, target)


def _converter(operator: ExternOperator, target: torch._ops.OpOverload) -> Converter:
    lists = [item.name for item in target._schema.arguments if "List[Tensor]" in str(item.type)]

    def convert(graph: Graph, **arguments: Any) -> Any:
        inputs: list[Any] = []
        attributes: dict[str, object] = {}
        for name, value in arguments.items():
            if isinstance(value, tvm.ir.Expr):
                inputs.append(value)
            elif name in lists:
                inputs += value
                attributes[name] = len(value)
            else:
                attributes[name] = value
        fakes = graph.result
        outputs = [fakes] if isinstance(fakes, torch.Tensor) else list(fakes)
        kernel = ExternKernel.of(
            operator,
            _require_in_c([KernelTensor(shape_of(value), dtype_of(value)) for value in inputs]),
            _require_in_c([_described(graph, fake) for fake in outputs]),
            attributes,
        )
        results = emit_kernel(graph.builder, kernel, inputs)
        return results[0] if isinstance(fakes, torch.Tensor) else results

    return convert


def _described(graph: Graph, fake: torch.Tensor) -> KernelTensor:
    return KernelTensor(tuple(map(int, fake.shape)), graph.computed(computing_name(fake.dtype)))


def _require_in_c(tensors: Sequence[KernelTensor]) -> Sequence[KernelTensor]:
    for tensor in tensors:
        if not tensor.elements:
            raise Unsupported("a tensor without elements")
        if not is_in_c(tensor.dtype):
            raise Unsupported(f"{tensor.dtype}, which C does not have")
    return tensors
