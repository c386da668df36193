"""The tests of the onnx package, each a small model with inputs and the right outputs, in batches.

Many models are put side by side into one, so that they are imported, compiled and run at once.
"""

from __future__ import annotations

import functools
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx_nodes import by_tunekit

from tunekit.errors import ValueNeeded


@dataclass(frozen=True)
class Prepared:
    """A test whose model can be imported.

    Attributes:
        test: of the onnx package.
        model: the test's, with some inputs as constants.
        feed: an array for each input.
        outputs: the right ones.
        bound: the inputs that are constants.
    """

    test: Any
    model: onnx.ModelProto
    feed: dict[str, Any]
    outputs: list[Any]
    bound: tuple[str, ...]


@functools.cache
def node_tests() -> tuple[Any, ...]:
    """All tests of single nodes."""
    with warnings.catch_warnings():
        # Made with overflows and divisions by zero on purpose.
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        return tuple(load_model_tests(kind="node"))


def operator_of(test: Any) -> str:
    """The operator that a test is about: its first that is no constant."""
    kinds = [node.op_type for node in test.model.graph.node if node.op_type != "Constant"]
    return kinds[0] if kinds else "Constant"


def has_tensors_only(model: onnx.ModelProto) -> bool:
    """Whether inputs and outputs are tensors of numbers: no text, sequences, optional values."""
    return all(
        value.type.HasField("tensor_type")
        and value.type.tensor_type.elem_type != onnx.TensorProto.STRING
        for value in (*model.graph.input, *model.graph.output)
    )


def prepared(test: Any) -> Prepared:
    """A test with those inputs bound that decide sizes.

    Raises:
        ImportFailed: it is refused.
    """
    from tunekit.onnx_frontend import proto_to_relax

    inputs, outputs = test.data_sets[0]
    names = [value.name for value in test.model.graph.input]
    feed = {name: array_of(value) for name, value in zip(names, inputs, strict=False)}
    bound: list[str] = []
    while True:
        model = _bind(test.model, feed, bound)
        left = [value.name for value in model.graph.input]
        try:
            proto_to_relax(model, left, test.name)
        except ValueNeeded as needed:
            new = [name for name in needed.names if name not in bound]
            if not new:
                raise
            bound += new
        else:
            return Prepared(test, model, {name: feed[name] for name in left}, outputs, tuple(bound))


def array_of(value: Any) -> Any:
    """A tensor of a test's data, which may be a `TensorProto`."""
    is_proto = isinstance(value, onnx.TensorProto)
    return onnx.numpy_helper.to_array(value) if is_proto else np.asarray(value)


def batches(tests: Iterable[Prepared], size: int) -> list[list[Prepared]]:
    """At most `size` tests each, of one opset."""
    by_opset = defaultdict(list)
    for item in tests:
        by_opset[tuple((o.domain, o.version) for o in item.model.opset_import)].append(item)
    return [some[i : i + size] for some in by_opset.values() for i in range(0, len(some), size)]


def differences(batch: Sequence[Prepared]) -> list[str]:
    """For each test what is wrong with what a library of its model, with default schedules,
    computes; "" where nothing is."""
    model, feed = _side_by_side(batch)
    results = iter(by_tunekit(model, feed))
    return [
        difference(item.test, item.outputs, [next(results) for _ in item.outputs]) for item in batch
    ]


def difference(test: Any, expected: Sequence[Any], given: Sequence[Any]) -> str:
    """What is wrong with outputs within the test's own tolerance; "" where nothing is."""
    if len(expected) != len(given):
        return f"{len(given)} outputs in place of {len(expected)}"
    for index, (right, value) in enumerate(zip(expected, given, strict=True)):
        try:
            _require_equal(test, right, value)
        except AssertionError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            return f"output {index}: " + "; ".join(lines[:4])
    return ""


def _bind(model: onnx.ModelProto, feed: dict[str, Any], names: Sequence[str]) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for name in names:
        [declared] = [value for value in result.graph.input if value.name == name]
        result.graph.input.remove(declared)
        result.graph.initializer.append(onnx.numpy_helper.from_array(feed[name], name))
    return result


def _side_by_side(batch: Sequence[Prepared]) -> tuple[onnx.ModelProto, dict[str, Any]]:
    graph, feed = onnx.GraphProto(name="batch"), {}
    for index, item in enumerate(batch):
        prefix = f"t{index}_"
        own = onnx.compose.add_prefix(item.model, prefix).graph
        graph.node.extend(own.node)
        graph.input.extend(own.input)
        graph.output.extend(own.output)
        graph.initializer.extend(own.initializer)
        feed.update({prefix + name: value for name, value in item.feed.items()})
    model = onnx.helper.make_model(graph, opset_imports=batch[0].model.opset_import)
    return model, feed


def _require_equal(test: Any, right: Any, value: Any) -> None:
    if isinstance(right, list):
        assert isinstance(value, list)
        assert len(right) == len(value)
        for pair in zip(right, value, strict=True):
            _require_equal(test, *pair)
        return
    right, value = array_of(right), np.asarray(value)
    assert right.dtype == value.dtype, f"dtype {value.dtype} in place of {right.dtype}"
    assert right.shape == value.shape, f"shape {value.shape} in place of {right.shape}"
    if right.dtype == object or right.dtype.kind in "SU":
        np.testing.assert_array_equal(right, value)
        return
    if right.dtype.kind == "V" or "float" in str(right.dtype):
        right, value = right.astype(np.float64), value.astype(np.float64)
    np.testing.assert_allclose(right, value, rtol=test.rtol, atol=test.atol)
