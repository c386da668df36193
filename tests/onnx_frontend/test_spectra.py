from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx_nodes import Node, differences, model_of

from tunekit.errors import ImportFailed
from tunekit.onnx_frontend import proto_to_relax

RANDOM = np.random.default_rng(0)


def test_transforms_along_any_axis_are_those_of_onnxruntime() -> None:
    real = RANDOM.standard_normal((2, 10, 6, 1)).astype("float32")
    pairs = RANDOM.standard_normal((2, 10, 6, 2)).astype("float32")
    nodes = [
        Node("DFT", [data, length, np.array(axis)], attributes=attributes)
        for data, length, axis, attributes in (
            (real, None, 1, {}),
            (real, None, 2, {"onesided": 1}),
            (real, np.array(16), 1, {"onesided": 1}),
            (real, np.array(4), -2, {}),
            (pairs, None, 1, {}),
            (pairs, None, -2, {"inverse": 1}),
        )
    ]
    assert differences(nodes, 20) == []
    older = [
        Node("DFT", [data], attributes={"axis": axis})
        for data, axis in itertools.product((real, pairs), (1, 2))
    ]
    assert differences(older, 17) == []


def test_frames_of_a_signal_are_transformed_as_by_onnxruntime() -> None:
    signal = RANDOM.standard_normal((2, 64, 1)).astype("float32")
    window = np.hanning(16).astype("float32")
    nodes = [
        Node("STFT", [signal, np.array(8), window], attributes={"onesided": 1}),
        Node("STFT", [signal, np.array(5), window, np.array(16)], attributes={"onesided": 0}),
        Node("STFT", [signal, np.array(8), None, np.array(16)]),
    ]
    assert differences(nodes, 17) == []


def test_non_max_suppression_says_why_and_what_to_do() -> None:
    boxes = RANDOM.uniform(0, 1, (1, 6, 4)).astype("float32")
    scores = RANDOM.uniform(0, 1, (1, 2, 6)).astype("float32")
    model, feed = model_of([Node("NonMaxSuppression", [boxes, scores], known=0)], 11)
    with pytest.raises(ImportFailed, match="how many boxes it leaves") as caught:
        proto_to_relax(model, list(feed), "nodes")
    assert "return" in str(caught.value.hint)
