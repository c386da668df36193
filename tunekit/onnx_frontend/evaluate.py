"""Operators whose inputs are known, computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx.reference import ReferenceEvaluator

from tunekit.onnx_frontend.values import Array, Value

_SILENT = 4
_RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


def evaluate(node: onnx.NodeProto, inputs: Sequence[Value], opset: int) -> list[Value] | None:
    """The outputs of a node whose inputs are all known.

    None where the operator is random, holds a graph, or cannot be computed. ONNX Runtime
    computes it, as it would the whole model; what it does not have, the reference of ONNX.
    """
    if node.op_type in _RANDOM or any(
        attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        for attribute in node.attribute
    ):
        return None
    names = [f"i{index}" if value is not None else "" for index, value in enumerate(inputs)]
    feed = {name: value for name, value in zip(names, inputs, strict=True) if name}
    single = onnx.NodeProto()
    single.CopyFrom(node)
    del single.input[:], single.output[:]
    single.input.extend(names)
    single.output.extend(f"o{index}" if name else "" for index, name in enumerate(node.output))
    try:
        model = _model(single, feed, opset)
    except (KeyError, ValueError, TypeError):
        return None
    for run in (_by_onnxruntime, _by_reference):
        try:
            results = run(model, feed)
        except Exception:  # noqa: BLE001 - each raises of every kind; the caller has another way
            continue
        found = iter(results)
        return [next(found) if name else None for name in single.output]
    return None


def _model(node: onnx.NodeProto, feed: dict[str, Value], opset: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "node",
        [_declared(name, value) for name, value in feed.items()],
        [onnx.ValueInfoProto(name=name) for name in node.output if name],
    )
    imports = [helper.make_opsetid("", opset)]
    if node.domain:
        imports.append(helper.make_opsetid(node.domain, 1))
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def _declared(name: str, value: Value) -> onnx.ValueInfoProto:
    if isinstance(value, list):
        item = _tensor_type(value[0])
        return helper.make_value_info(name, helper.make_sequence_type_proto(item))
    return helper.make_value_info(name, _tensor_type(value))


def _tensor_type(array: Array) -> onnx.TypeProto:
    dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_type_proto(dtype, array.shape)


def _by_onnxruntime(model: onnx.ModelProto, feed: dict[str, Value]) -> list[Value]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [_plain(value) for value in session.run(None, feed)]


def _by_reference(model: onnx.ModelProto, feed: dict[str, Value]) -> list[Value]:
    with np.errstate(all="ignore"):
        return [_plain(value) for value in ReferenceEvaluator(model).run(None, feed)]


def _plain(value: Any) -> Value:
    return [np.asarray(item) for item in value] if isinstance(value, list) else np.asarray(value)
