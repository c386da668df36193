"""ONNX nodes with numbers, put into one model and compared with ONNX Runtime.

A compiled module costs seconds and another kernel in it little, so a test gathers all its nodes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from targets import unoptimized

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Node:
    """An operator applied to arrays.

    Attributes:
        operator: `Resize`, `com.microsoft.QGemm`.
        inputs: None for one that is left out.
        known: how many of the last inputs are constants; all after the first where None.
        outputs: how many it has.
        attributes: of the node.
    """

    operator: str
    inputs: Sequence[Array | None]
    known: int | None = None
    outputs: int = 1
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shapes = [None if array is None else list(array.shape) for array in self.inputs]
        return f"{self.operator} {shapes} {dict(self.attributes)}"


def model_of(nodes: Sequence[Node], opset: int) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """One model of all nodes, and its inputs."""
    protos, declared, outputs, constants = [], [], [], []
    feed: dict[str, Array] = {}
    for index, node in enumerate(nodes):
        known = len(node.inputs) - 1 if node.known is None else node.known
        names = []
        for place, array in enumerate(node.inputs):
            name = "" if array is None else f"n{index}_{place}"
            names.append(name)
            if array is None:
                continue
            if place >= len(node.inputs) - known:
                constants.append(numpy_helper.from_array(array, name))
            else:
                dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
                declared.append(helper.make_tensor_value_info(name, dtype, array.shape))
                feed[name] = array
        domain, _, operator = node.operator.rpartition(".")
        results = [f"y{index}_{place}" for place in range(node.outputs)]
        outputs += [onnx.ValueInfoProto(name=name) for name in results]
        protos.append(helper.make_node(operator, names, results, domain=domain, **node.attributes))
    graph = helper.make_graph(protos, "nodes", declared, outputs, constants)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10), feed


def by_onnxruntime(model: onnx.ModelProto, feed: Mapping[str, Array]) -> list[Array]:
    """What ONNX Runtime computes, with the operators as they are written."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(value) for value in session.run(None, feed)]


def by_tunekit(model: onnx.ModelProto, feed: Mapping[str, Array]) -> list[Array]:
    """What a library of it with default schedules computes."""
    import tvm
    from tvm import relax

    from tunekit.graph.prepare import prepare
    from tunekit.graph.tasks import extract_tasks
    from tunekit.library.apply import apply_records
    from tunekit.library.build import export
    from tunekit.machine.tvm_loading import arrays_of
    from tunekit.onnx_frontend import proto_to_relax

    names = [value.name for value in model.graph.input]
    target = unoptimized()
    graph = prepare(proto_to_relax(model, names, "nodes"), target, "auto")
    module = apply_records(graph, extract_tasks(graph, target), [], target).module
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "nodes.so"
        export(module, target, library)
        machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    values = [tvm.runtime.tensor(np.array(feed[name], order="C")) for name in names]
    return [np.asarray(array) for array in arrays_of(machine["main"](*values))]


def differences(
    nodes: Sequence[Node], opset: int, *, tolerance: float = 1e-5, steps: int = 0
) -> list[str]:
    """Which nodes give something else than ONNX Runtime, and how.

    Args:
        nodes: all in one model of this opset.
        tolerance: of floating-point results, as part of the largest number.
        steps: by which integers may differ, in one of a hundred elements at most.
    """
    model, feed = model_of(nodes, opset)
    owners = [node for node in nodes for _ in range(node.outputs)]
    found = []
    for node, right, given in zip(
        owners, by_onnxruntime(model, feed), by_tunekit(model, feed), strict=True
    ):
        difference = _difference(right, given, tolerance, steps)
        if difference:
            found.append(f"{node}: {difference}")
    return found


def _difference(right: Array, given: Array, tolerance: float, steps: int) -> str:
    if (right.dtype, right.shape) != (given.dtype, given.shape):
        return f"{given.dtype}{given.shape} in place of {right.dtype}{right.shape}"
    if not right.size:
        return ""
    error = np.abs(right.astype(np.float64) - given.astype(np.float64))
    if right.dtype.kind in "iub":
        share = np.count_nonzero(error) / right.size
        return f"{error.max()} in {share:.0%}" if error.max() > steps or share > 0.01 else ""
    # Not `>`, which NaN would pass.
    scale = float(np.abs(right.astype(np.float64)).max())
    return "" if error.max() <= tolerance * max(scale, 1e-9) else f"{error.max()} of {scale}"
