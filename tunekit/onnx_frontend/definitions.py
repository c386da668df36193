"""What the standard says of an operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.values import Value, dtype_of, shape_of

if TYPE_CHECKING:
    from tunekit.onnx_frontend.node import OnnxNode


_UNHEEDED: Mapping[str, tuple[str, ...]] = {
    "BatchNormalization": ("spatial",),
    "Cast": ("round_mode",),
    "CastLike": ("round_mode",),
    "QuantizeLinear": ("precision",),
    "Upsample": ("height_scale", "width_scale"),
    "FusedGemm": ("activation_alpha", "activation_beta", "activation_gamma"),
    "GroupQueryAttention": ("causal", "k_quant_type", "qk_norm_epsilon", "v_quant_type"),
    "MatMulNBits": ("weight_prepacked",),
}
"""Attributes that say something which no converter knows."""
# Characters of a value in a message.
_LONGEST = 60


def version_of(operator: str, domain: str, opset: int) -> int:
    try:
        return int(onnx.defs.get_schema(operator, opset, domain).since_version)
    except onnx.defs.SchemaError:
        return opset


def is_defined(node: onnx.NodeProto, domain: str, opset: int) -> bool:
    """Whether the standard defines an operator by others, or it is known without conversion."""
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opset, domain)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def with_defaults(node: onnx.NodeProto, domain: str, opset: int) -> onnx.NodeProto:
    """The node with the attributes that it leaves to the standard, which its body refers to."""
    complete = onnx.NodeProto()
    complete.CopyFrom(node)
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in onnx.defs.get_schema(node.op_type, opset, domain).attributes.items():
        if name not in given and attribute.default_value.type != onnx.AttributeProto.UNDEFINED:
            complete.attribute.append(attribute.default_value)
    return complete


def require_heeded(node: OnnxNode, domain: str, opset: int) -> None:
    """Refuses attributes that the converter does not know.

    Raises:
        Unsupported: one says something else than by default.
    """
    known = _defaults(node.operator, domain, opset)
    for name, value in node.attributes.items():
        # A later version of the standard may have more of them than this one.
        is_new = domain == "" and bool(known) and name not in known
        is_unheeded = name in _UNHEEDED.get(node.operator, ())
        if (is_new or is_unheeded) and value != known.get(name):
            raise Unsupported(f"its attribute {name} is {_shown(value)}, which is not heeded")


def _shown(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


@cache
def _defaults(operator: str, domain: str, opset: int) -> dict[str, Any]:
    """What each attribute of an operator is where a node does not say; None without a default."""
    try:
        schema = onnx.defs.get_schema(operator, opset, domain)
    except onnx.defs.SchemaError:
        return {}
    unset = onnx.AttributeProto.UNDEFINED
    return {
        name: None
        if attribute.default_value.type == unset
        else helper.get_attribute_value(attribute.default_value)
        for name, attribute in schema.attributes.items()
    }


def body_of(
    node: onnx.NodeProto, domain: str, opset: int, inputs: Sequence[Value]
) -> onnx.FunctionProto | None:
    """The definition of an operator by others, where the standard has one."""
    try:
        # Its type information lacks the functions.
        schema: Any = onnx.defs.get_schema(node.op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None
    function = onnx.FunctionProto()
    if schema.has_function:
        function.CopyFrom(schema.function_body)
        return function
    if not schema.has_context_dependent_function:
        return None
    types = [_type_of(value).SerializeToString() for value in inputs]
    function.ParseFromString(schema.get_context_dependent_function(node.SerializeToString(), types))
    return function


def _type_of(value: Value) -> onnx.TypeProto:
    if value is None:
        return onnx.TypeProto()
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(dtype_of(value)))
    return helper.make_tensor_type_proto(dtype, shape_of(value))


def resolved(node: onnx.NodeProto, references: Mapping[str, onnx.AttributeProto]) -> onnx.NodeProto:
    """The node with attributes of the function that it is part of put in their place."""
    if not any(attribute.ref_attr_name for attribute in node.attribute):
        return node
    resolved = onnx.NodeProto()
    resolved.CopyFrom(node)
    del resolved.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            resolved.attribute.append(attribute)
        elif attribute.ref_attr_name in references:
            own = onnx.AttributeProto()
            own.CopyFrom(references[attribute.ref_attr_name])
            own.name = attribute.name
            resolved.attribute.append(own)
    return resolved
