from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.onnx_nodes import Node, differences

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layer(
    operator: str,
    *,
    steps: int = 4,
    batch: int = 2,
    hidden: int = 8,
    directions: int = 1,
    known: int | None = None,
    without: tuple[str, ...] = ("lengths", "state", "peepholes"),
    **attributes: Any,
) -> Node:
    """A layer of random weights."""
    random = np.random.default_rng(hidden + steps)
    rows = _GATES[operator] * hidden

    def some(*shape: int) -> np.ndarray[Any, Any]:
        return random.standard_normal(shape).astype("float32") * np.float32(0.4)

    inputs: dict[str, Any] = {
        "x": some(steps, batch, 5),
        "weights": some(directions, rows, 5),
        "recurrent": some(directions, rows, hidden),
        "bias": some(directions, 2 * rows),
        "lengths": random.integers(1, steps + 1, batch).astype("int32"),
        "state": some(directions, batch, hidden),
    }
    if operator == "LSTM":
        inputs |= {
            "cell": some(directions, batch, hidden),
            "peepholes": some(directions, 3 * hidden),
        }
    absent = {*without, *(["cell"] if "state" in without else [])}
    values = [None if name in absent else value for name, value in inputs.items()]
    direction = attributes.pop("direction", "bidirectional" if directions == 2 else "forward")
    return Node(
        operator,
        values,
        known,
        outputs=3 if operator == "LSTM" else 2,
        attributes={"hidden_size": hidden, "direction": direction, **attributes},
    )


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param(
            [
                layer("LSTM", batch=1, hidden=20, direction="reverse"),
                layer("LSTM", batch=3, hidden=12, directions=2, without=()),
                # Sequences that take turns at the weights.
                layer("LSTM", batch=32, hidden=12, without=()),
                layer("LSTM", directions=2, clip=0.3, input_forget=1, known=0),
                layer(
                    "LSTM",
                    directions=2,
                    activations=["HardSigmoid", "Relu", "Tanh", "Sigmoid", "Softsign", "Softplus"],
                    activation_alpha=[0.3],
                    activation_beta=[0.4],
                ),
            ],
            id="LSTM",
        ),
        pytest.param(
            [
                layer("GRU", batch=24, hidden=12, directions=2, without=()),
                layer("GRU", hidden=12, directions=2, without=(), linear_before_reset=1),
                layer("GRU", known=0, linear_before_reset=1, without=("bias", "lengths", "state")),
                layer(
                    "GRU", activations=["LeakyRelu", "Elu"], activation_alpha=[0.1, 0.5], clip=0.5
                ),
            ],
            id="GRU",
        ),
        pytest.param(
            [
                layer("RNN", hidden=40, directions=2, without=()),
                layer(
                    "RNN", activations=["ScaledTanh"], activation_alpha=[0.5], activation_beta=[0.7]
                ),
                layer(
                    "RNN", steps=1, batch=1, activations=["ThresholdedRelu"], activation_alpha=[0.2]
                ),
            ],
            id="RNN",
        ),
    ],
)
def test_recurrent_layers_give_what_onnx_runtime_gives(layers: list[Node]) -> None:
    assert differences(layers, opset=17) == []


def test_a_dynamically_quantized_lstm_rounds_its_inputs_and_states_as_onnx_runtime_does() -> None:
    random = np.random.default_rng(3)
    nodes = []
    for batch, hidden, directions in ((1, 20, 2), (2, 12, 1)):
        rows = 4 * hidden
        by_direction, by_column = (directions,), (directions, rows)
        inputs: list[Any] = [random.standard_normal((5, batch, 7)).astype("float32")]
        inputs += [
            random.integers(0, 255, (directions, size, rows)).astype("uint8")
            for size in (7, hidden)
        ]
        inputs += [random.standard_normal((directions, 2 * rows)).astype("float32") / 4]
        inputs += [None, *(random.standard_normal((2, directions, batch, hidden)) / 3), None]
        for shape in (by_direction, by_column):
            inputs += [random.uniform(0.002, 0.006, shape).astype("float32")]
            inputs += [np.full(shape, 117 + len(shape), "uint8")]
        values = [
            None if value is None else value if value.dtype == "uint8" else value.astype("float32")
            for value in inputs
        ]
        attributes = {"hidden_size": hidden} | (
            {"direction": "bidirectional"} if directions == 2 else {"clip": 0.8}
        )
        nodes.append(Node("com.microsoft.DynamicQuantizeLSTM", values, None, 3, attributes))
    assert differences(nodes, opset=17, tolerance=1e-4) == []


def test_a_long_layer_is_one_kernel_and_one_product() -> None:
    from tests.support.onnx_nodes import model_of
    from tunekit.ir.relax import bindings_of, operator_name
    from tunekit.onnx_frontend import proto_to_relax

    model, feed = model_of([layer("LSTM", steps=500, batch=1, directions=2)], opset=17)
    module = proto_to_relax(model, list(feed), "long")
    names = [operator_name(value) for _, value in bindings_of(module["main"]) or []]
    assert names.count("matmul") == 1
    assert len(names) < 12
