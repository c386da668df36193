"""From ONNX to Relax, with failures located."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import tvm
from tvm.relax.frontend.onnx import onnx_frontend

from tunekit.errors import ImportFailed
from tunekit.frontends.batch_norm import fold_batch_norm
from tunekit.processes.quiet import abandon, quiet
from tunekit.wording import first_line

_STANDARD_DOMAINS = ("", "ai.onnx")
_HINT = (
    "export the model with other operators (another opset, or torch.onnx.export with dynamo=True "
    "or False), leave that part out, or give the torch model itself as the source"
)


def proto_to_relax(model: onnx.ModelProto, order: Sequence[str], name: str) -> tvm.IRModule:
    """A Relax module of an ONNX model with fixed input shapes, folded; parameters in this order.

    Raises:
        ImportFailed: names the operator, its node and the node's index in the graph.
    """
    opset = next(
        (item.version for item in model.opset_import if item.domain in _STANDARD_DOMAINS), 1
    )
    importer = _Importer(name)
    with quiet():
        try:
            module = importer.from_onnx(model.graph, opset)
        except ImportFailed:
            raise
        except Exception as error:
            abandon(importer.bb)
            raise ImportFailed(
                f"{name}: {importer.current} cannot be imported as it is used here: "
                f"{first_line(error)}",
                hint=_HINT,
            ) from error
        weights = {tensor.name for tensor in model.graph.initializer}
        names = [value.name for value in model.graph.input if value.name not in weights]
        return fold_batch_norm(module, names, order)


class _Importer(onnx_frontend.ONNXGraphImporter):  # type: ignore[misc]
    """TVM's importer, which knows at each moment the node it is at."""

    def __init__(self, model_name: str) -> None:
        # Names as the recipe has them, also where they are no identifiers.
        super().__init__({}, "float32", keep_params_in_input=False, sanitize=False)
        self.model_name = model_name
        self.current = "the graph"

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        known = {*onnx_frontend._get_convert_map(), "If", "Constant"}
        missing = [
            (index, node)
            for index, node in enumerate(graph.node)
            if node.op_type not in known or node.domain not in _STANDARD_DOMAINS
        ]
        if missing:
            names = list(dict.fromkeys(_operator(node) for _, node in missing))
            plural = "s" if len(names) > 1 else ""
            raise ImportFailed(
                f"{self.model_name}: ONNX operator{plural} {', '.join(names)} cannot be imported; "
                f"first at {_describe(*missing[0])}",
                hint=_HINT,
            )

    def _construct_nodes(self, graph: onnx.GraphProto) -> None:
        # One node at a time, so that a failure can be placed.
        for index, node in enumerate(graph.node):
            self.current = f"ONNX operator {_operator(node)} at {_describe(index, node)}"
            super()._construct_nodes(onnx.GraphProto(node=[_with_tensor(node)]))


def _with_tensor(node: onnx.NodeProto) -> onnx.NodeProto:
    """A Constant that holds plain numbers, which TVM cannot read, as one that holds a tensor."""
    if node.op_type != "Constant" or len(node.attribute) != 1:
        return node
    [attribute] = node.attribute
    dtype = {
        "value_int": "int64",
        "value_ints": "int64",
        "value_float": "float32",
        "value_floats": "float32",
    }.get(attribute.name)
    if dtype is None:
        return node
    numbers = np.array(onnx.helper.get_attribute_value(attribute), dtype)
    tensor = onnx.numpy_helper.from_array(numbers)
    return onnx.helper.make_node("Constant", [], list(node.output), name=node.name, value=tensor)


def _operator(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in _STANDARD_DOMAINS else f"{node.domain}.{node.op_type}"


def _describe(index: int, node: onnx.NodeProto) -> str:
    name = f"'{node.name}'" if node.name else f"of output '{node.output[0]}'"
    return f"node {index} {name}"
