"""A model as it is read from an .onnx file: valid by the standard, or taken by ONNX Runtime."""

from __future__ import annotations

import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from tunekit.errors import ModelFileError
from tunekit.processes.quiet import quiet
from tunekit.wording import first_line

_LARGEST_IR_VERSION = 13
"""Of the format, that ONNX Runtime reads. The onnx package writes newer ones, which differ in types
of tensors: a model without these is the same in both."""
_SILENT = 4
"""ONNX Runtime's logging severity that leaves only fatal errors."""


def read_onnx(path: Path) -> onnx.ModelProto:
    """Reads and checks a model.

    Raises:
        ModelFileError: the file is missing, damaged or something else.
    """
    if not path.is_file():
        raise ModelFileError(f"there is no model file {path}")
    try:
        with quiet():
            model = onnx.load(str(path))
    except Exception as error:
        raise ModelFileError(
            f"{path} cannot be read: damaged, or not an ONNX model: {first_line(error)}"
        ) from error
    try:
        with quiet():
            # By its path, because a model of more than 2 GB cannot be checked in memory.
            onnx.checker.check_model(str(path))
    except Exception as error:
        refusal = _refusal_of_onnxruntime(model)
        if refusal is not None:
            raise ModelFileError(
                f"{path} is not a valid ONNX model: {first_line(error)}; ONNX Runtime, which takes "
                f"some such models, does not take it: {refusal}",
                hint="export it again, or see onnx.checker.check_model",
            ) from error
    return model


def session_of(model: str | bytes, *, as_written: bool) -> Any:
    """ONNX Runtime's session of a model (its path or content); nothing is said on standard error.

    With `as_written` the graph stays as it is.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with quiet():
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def as_onnxruntime_reads(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in a version of the format that ONNX Runtime knows, each node behind those whose
    outputs it reads."""
    known = onnx.ModelProto()
    known.CopyFrom(model)
    known.ir_version = min(known.ir_version, _LARGEST_IR_VERSION)
    _put_in_order(known.graph)
    return known


def _refusal_of_onnxruntime(model: onnx.ModelProto) -> str | None:
    """None where a model runs that is not valid by the letter: with outputs of which it says no
    shape, nodes in any order, or ONNX Runtime's operators among the standard's."""
    try:
        session_of(as_onnxruntime_reads(model).SerializeToString(), as_written=True)
    except Exception as error:  # noqa: BLE001 - it raises of every kind, and its words are told
        return first_line(error)
    return None


def _put_in_order(graph: onnx.GraphProto) -> None:
    """Each node behind those whose outputs it reads, in the graphs within the graph too."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _put_in_order(attribute.g)
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    sources = {
        index: [makers[name] for name in _names_read(node) if name in makers]
        for index, node in enumerate(graph.node)
    }
    if all(source < index for index, found in sources.items() for source in found):
        return
    try:
        order = list(graphlib.TopologicalSorter(sources).static_order())
    except graphlib.CycleError:
        return
    nodes = [graph.node[index] for index in order]
    ordered = onnx.GraphProto()
    ordered.node.extend(nodes)
    del graph.node[:]
    graph.node.extend(ordered.node)


def _names_read(node: onnx.NodeProto) -> Iterator[str]:
    """Its inputs, and what the graphs within it read."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                yield from _names_read(inner)
            yield from (value.name for value in attribute.g.output)
