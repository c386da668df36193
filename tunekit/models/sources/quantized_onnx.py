"""What a quantized ONNX model computes as it is written, whatever the processor.

ONNX Runtime's optimizations replace its operators by integer kernels whose rounding differs, and on
processors without VNNI instructions a product of uint8 and int8 matrices saturates at 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

# Operators with matrices of weights that may be int8, and where each and its zero point stand.
_WEIGHTS = {
    "DynamicQuantizeLSTM": ((1, 9), (2, 11)),
    "DynamicQuantizeMatMul": ((1, 3),),
    "MatMulInteger": ((1, 3),),
    "MatMulIntegerToFloat": ((1, 5),),
    "QGemm": ((3, 5),),
    "QLinearMatMul": ((3, 5),),
}
_QUANTIZED = (
    "DequantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeLinear", "DynamicQuantizeMatMul",
    "QuantizeLinear",
)  # fmt: skip
_MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether it has integers for weights, or rounds what it computes to integers."""
    return any(
        node.op_type in _QUANTIZED or node.op_type.startswith(("QLinear", "QGemm"))
        for node in model.graph.node
    )


def without_saturation(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with weights of int8 as uint8, 128 higher, whose products do not saturate."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    shifted: dict[str, str] = {}
    for node in result.graph.node:
        for places in _WEIGHTS.get(node.op_type, ()):
            weights, zero = places
            given = [node.input[place] if place < len(node.input) else "" for place in places]
            known = [constants.get(name) for name in given if name]
            if any(item is None or item.data_type != onnx.TensorProto.INT8 for item in known):
                continue
            node.input.extend([""] * (zero + 1 - len(node.input)))
            for place, name in zip((weights, zero), given, strict=True):
                if name not in shifted:
                    old = numpy_helper.to_array(constants[name]) if name else np.zeros((), "int8")
                    new = (old.astype(np.int16) + 128).astype("uint8")
                    shifted[name] = f"{name or 'no zero point'}, unsigned"
                    result.graph.initializer.append(numpy_helper.from_array(new, shifted[name]))
                node.input[place] = shifted[name]
    return result


def dynamic_step(model: onnx.ModelProto) -> float:
    """A step of what a model rounds in the range that it has, as part of that; 0 where none is.

    What lies halfway between two steps, but for its last digits, goes to either, and all that
    follows moves with it, whether or not the outputs are rounded themselves.
    """
    rounds = any(node.op_type.startswith("DynamicQuantize") for node in model.graph.node)
    return 1 / 255 if rounds else 0.0


def largest_step(model: onnx.ModelProto, outputs: Sequence[npt.NDArray[np.generic]]) -> float:
    """One step of the quantization of an output, as part of its largest number; 0 without one.

    A sum that lies halfway between two steps, but for its last digits, may go to either.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    steps = [0.0]
    for declared, array in zip(model.graph.output, outputs, strict=True):
        largest = float(np.abs(array.astype(np.float64)).max(initial=0))
        step = _step_of(declared.name, makers, constants)
        if largest and step:
            # A little more, for the last digits of the numbers themselves.
            steps.append(1.001 * step / largest)
    return max(steps)


def _step_of(
    name: str, makers: Mapping[str, onnx.NodeProto], constants: Mapping[str, onnx.TensorProto]
) -> float:
    maker = makers.get(name)
    while maker is not None and maker.op_type in _MOVES:
        maker = makers.get(maker.input[0])
    if maker is None:
        return 0.0
    if maker.op_type == "DequantizeLinear" and maker.input[1] in constants:
        return float(np.max(numpy_helper.to_array(constants[maker.input[1]])))
    is_integer = maker.op_type.startswith(("QuantizeLinear", "QLinear", "QGemm"))
    return 1.0 if is_integer else 0.0
