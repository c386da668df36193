"""Small random ONNX graphs, valid by ONNX's own rules, drawn by hypothesis.

A graph grows node by node: each is an operator with attributes that fit the shapes so far, and
onnx's shape inference says what comes out. Every value without a reader is an output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
Draw = Callable[[Any], Any]


@dataclass
class Growing:
    """A graph in the making: its values with their shapes, all float32."""

    draw: Draw
    shapes: dict[str, tuple[int, ...]]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def pick(self, ranks: range = range(7)) -> str | None:
        """A value of one of these ranks."""
        names = [name for name, shape in self.shapes.items() if len(shape) in ranks]
        return self.draw(st.sampled_from(names)) if names else None

    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def one_of(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def weight(self, *shape: int) -> str:
        values = np.random.default_rng(len(self.weights)).standard_normal(shape)
        return self._stored(values.astype(np.float32))

    def constant(self, *values: int) -> str:
        return self._stored(np.array(values, np.int64))

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> None:
        names = [f"v{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        shapes = self._inferred(names)
        if shapes is None:
            self.nodes.pop()
        else:
            self.shapes.update(shapes)

    def _stored(self, array: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def _inferred(self, names: list[str]) -> dict[str, tuple[int, ...]] | None:
        """The shapes of a new node's float outputs; None where the node cannot be."""
        node = self.nodes[-1]
        known = [name for name in node.input if name in self.shapes]
        inputs = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, self.shapes[n]) for n in known
        ]
        outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
        graph = helper.make_graph([node], "one", inputs, outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        try:
            model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        except onnx.shape_inference.InferenceError:
            return None
        shapes = {}
        for value in model.graph.output:
            tensor = value.type.tensor_type
            sizes = [dim.dim_value for dim in tensor.shape.dim]
            if tensor.elem_type != TensorProto.FLOAT or not all(0 < size < 200 for size in sizes):
                return None
            shapes[value.name] = tuple(sizes)
        return shapes

    def model(self) -> onnx.ModelProto:
        read = {name for node in self.nodes for name in node.input}
        outputs = [name for name in self.shapes if name.startswith("v") and name not in read]
        graph = helper.make_graph(
            self.nodes,
            "random",
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in self.shapes.items()
                if name.startswith("x")
            ],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, self.shapes[n]) for n in outputs],
            self.weights,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10
        )


def _unary(graph: Growing) -> None:
    operator = graph.one_of(
        *("Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Neg", "Abs", "Floor", "Ceil", "Round", "Sign"),
        *("Softplus", "Softsign", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "LeakyRelu"),
        *("Sqrt", "Log", "Sin", "Cos", "Reciprocal", "Identity", "Mish", "ThresholdedRelu"),
    )
    graph.add(operator, graph.pick())


def _binary(graph: Growing) -> None:
    operator = graph.one_of("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum", "PRelu")
    first = graph.pick()
    shape = graph.shapes[first]
    other = [graph.one_of(1, size) for size in shape[graph.number(0, len(shape)) :]]
    graph.add(operator, first, graph.weight(*other) if graph.one_of(True, False) else graph.pick())


def _move(graph: Growing) -> None:
    value = graph.pick(range(1, 7))
    if value is None:
        return
    shape = graph.shapes[value]
    axis = graph.number(-len(shape), len(shape) - 1)
    kind = graph.number(0, 9)
    if kind == 0:
        graph.add("Transpose", value, perm=graph.draw(st.permutations(range(len(shape)))))
    elif kind == 1:
        graph.add("Reshape", value, graph.constant(*graph.one_of((-1,), (0, -1), (2, -1), (-1, 3))))
    elif kind == 2:
        start, end = graph.number(-5, 5), graph.number(-6, 6)
        step = graph.one_of(1, 2, -1, -2)
        slices = (graph.constant(number) for number in (start, end, axis, step))
        graph.add("Slice", value, *slices)
    elif kind == 3:
        graph.add("Concat", value, graph.one_of(value, graph.pick()), axis=axis)
    elif kind == 4:
        pads = graph.constant(*(graph.number(-1, 2) for _ in range(2 * len(shape))))
        graph.add("Pad", value, pads, mode=graph.one_of("constant", "reflect", "edge"))
    elif kind == 5:
        parts = graph.number(1, shape[axis])
        graph.add("Split", value, outputs=parts, axis=axis, num_outputs=parts)
    elif kind == 6:
        indices = (graph.number(-shape[axis], shape[axis] - 1) for _ in range(graph.number(1, 4)))
        graph.add("Gather", value, graph.constant(*indices), axis=axis)
    elif kind == 7:
        graph.add("Tile", value, graph.constant(*(graph.number(1, 2) for _ in shape)))
    elif kind == 8:
        graph.add("Unsqueeze", value, graph.constant(axis))
    else:
        graph.add("Flatten", value, axis=axis)


def _reduce(graph: Growing) -> None:
    value = graph.pick(range(1, 7))
    if value is None:
        return
    rank = len(graph.shapes[value])
    axis = graph.number(-rank, rank - 1)
    kind = graph.number(0, 3)
    if kind == 0:
        operator = graph.one_of(
            *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"),
            *("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare"),
        )
        graph.add(operator, value, graph.constant(axis), keepdims=graph.number(0, 1))
    elif kind == 1:
        graph.add(graph.one_of("Softmax", "LogSoftmax", "Hardmax"), value, axis=axis)
    elif kind == 2:
        options = {"exclusive": graph.number(0, 1), "reverse": graph.number(0, 1)}
        graph.add("CumSum", value, graph.constant(axis), **options)
    else:
        sizes = graph.shapes[value][axis:]
        scale, bias = graph.weight(*sizes), graph.weight(*sizes)
        graph.add("LayerNormalization", value, scale, bias, axis=axis)


def _multiply(graph: Growing) -> None:
    value = graph.pick(range(1, 5))
    if value is None:
        return
    shape = graph.shapes[value]
    if len(shape) == 2 and graph.one_of(True, False):
        options = {"alpha": graph.one_of(1.0, 0.5), "transB": 1}
        graph.add("Gemm", value, graph.weight(4, shape[1]), graph.weight(4), **options)
    else:
        graph.add("MatMul", value, graph.weight(shape[-1], graph.number(1, 5)))


def _image(graph: Growing) -> None:
    value = graph.pick(range(4, 5))
    if value is None:
        return
    channels = graph.shapes[value][1]
    kernel = [graph.number(1, 3), graph.number(1, 3)]
    window: dict[str, Any] = {"strides": [graph.number(1, 2)] * 2}
    window.update(graph.one_of({"pads": [1, 0, 1, 1]}, {"auto_pad": "SAME_UPPER"}, {}))
    kind = graph.number(0, 5)
    if kind == 0:
        group = graph.one_of(1, channels)
        weight = graph.weight(2 * channels, channels // group, *kernel)
        graph.add("Conv", value, weight, graph.weight(2 * channels), group=group, **window)
    elif kind == 1:
        graph.add("ConvTranspose", value, graph.weight(channels, 2, *kernel), **window)
    elif kind == 2:
        graph.add("MaxPool", value, kernel_shape=kernel, ceil_mode=graph.number(0, 1), **window)
    elif kind == 3:
        options = {"count_include_pad": graph.number(0, 1), **window}
        graph.add("AveragePool", value, kernel_shape=kernel, **options)
    elif kind == 4:
        graph.add(graph.one_of("GlobalAveragePool", "GlobalMaxPool"), value)
    else:
        parameters = [graph.weight(channels) for _ in range(2)]
        graph.add("InstanceNormalization", value, *parameters)


@st.composite
def graphs(draw: Draw) -> onnx.ModelProto:
    """Models of one or two inputs and one to five nodes."""
    size = st.integers(1, 5)
    shapes = {
        f"x{index}": tuple(draw(st.lists(size, min_size=rank, max_size=rank)))
        for index, rank in enumerate(
            draw(st.lists(st.sampled_from([4, 4, 3, 2, 1, 0]), min_size=1, max_size=2))
        )
    }
    graph = Growing(draw, shapes)
    for _ in range(draw(st.integers(1, 5))):
        draw(st.sampled_from([_unary, _binary, _move, _reduce, _multiply, _image]))(graph)
    if not graph.nodes:
        graph.add("Identity", "x0")
    return graph.model()
