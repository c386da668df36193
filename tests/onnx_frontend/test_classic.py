"""Models of classic machine learning, as scikit-learn's converters write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import by_onnxruntime, by_tunekit

_ML = "ai.onnx.ml"
_FEATURES = 4


def model_of(version: int, *operators: tuple[str, int, dict[str, Any]]) -> onnx.ModelProto:
    """All operators on one input; each with the number of its outputs and its attributes."""
    nodes, outputs = [], []
    for index, (operator, count, attributes) in enumerate(operators):
        names = [f"y{index}_{place}" for place in range(count)]
        nodes.append(helper.make_node(operator, ["x"], names, domain=_ML, **attributes))
        outputs += [onnx.ValueInfoProto(name=name) for name in names]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [16, _FEATURES])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(_ML, version)]
    graph = helper.make_graph(nodes, "classic", [given], outputs)
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def require_right(model: onnx.ModelProto) -> None:
    data = np.random.default_rng(0).standard_normal((16, _FEATURES)).astype("float32")
    data[3, 0] = data[5, 1] = np.nan
    data[7] = [0.25, 2, 2, 2]
    data[9] = 0
    for expected, given in zip(
        by_onnxruntime(model, {"x": data}), by_tunekit(model, {"x": data}), strict=True
    ):
        assert (expected.dtype, expected.shape) == (given.dtype, given.shape)
        if expected.dtype == np.int64:  # A class among scores that are no numbers is any.
            expected, given = (labels[~np.isnan(data).any(1)] for labels in (expected, given))
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)


def two_trees(kind: str, results: int) -> dict[str, Any]:
    """A tree of depth two that looks at features 0 and 1, and one of depth one."""
    modes = ["BRANCH_LEQ", "BRANCH_GT", "LEAF", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"]
    return {
        "nodes_treeids": [0] * 5 + [1] * 3,
        "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2],
        "nodes_modes": modes,
        "nodes_featureids": [0, 1, 0, 0, 0, 2, 0, 0],
        "nodes_values": [0.25, -0.5, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0],
        "nodes_truenodeids": [1, 3, 0, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [2, 4, 0, 0, 0, 2, 0, 0],
        "nodes_missing_value_tracks_true": [1, 0, 0, 0, 0, 0, 0, 0],
        f"{kind}_treeids": [0, 0, 0, 1, 1],
        f"{kind}_nodeids": [2, 3, 4, 1, 2],
        f"{kind}_ids": [index % results for index in range(5)],
        f"{kind}_weights": [0.5, -1.0, 2.0, 0.25, 1.5],
    }


def test_scalers_linear_models_and_trees_give_what_onnx_runtime_gives() -> None:
    rows = np.random.default_rng(1).standard_normal((3, _FEATURES)).astype("float32")
    linear = {"coefficients": rows.ravel().tolist(), "intercepts": [0.1, 0.2, 0.3]}
    require_right(
        model_of(
            3,
            ("Scaler", 1, {"offset": [1.0, 2.0, 3.0, 4.0], "scale": [0.5, 2.0, 1.0, 3.0]}),
            ("Imputer", 1, {"replaced_value_float": np.nan, "imputed_value_floats": [5.0]}),
            ("Normalizer", 1, {"norm": "L1"}),
            ("Normalizer", 1, {"norm": "L2"}),
            ("LinearRegressor", 1, {**linear, "targets": 3}),
            ("LinearClassifier", 2,
             {**linear, "classlabels_ints": [4, 5, 9], "post_transform": "SOFTMAX"}),
            ("TreeEnsembleRegressor", 1,
             {**two_trees("target", 1), "n_targets": 1, "base_values": [0.5]}),
            *(
                ("TreeEnsembleRegressor", 1,
                 {**two_trees("target", 2), "n_targets": 2, "aggregate_function": how})
                for how in ("SUM", "MIN", "MAX")
            ),
            # Of the second result no leaf speaks.
            *(
                ("TreeEnsembleRegressor", 1,
                 {**two_trees("target", 1), "n_targets": 2, "aggregate_function": how})
                for how in ("MIN", "MAX")
            ),
            ("Normalizer", 1, {"norm": "MAX"}),
            ("TreeEnsembleClassifier", 2,
             {**two_trees("class", 3), "classlabels_int64s": [4, 5, 9],
              "post_transform": "SOFTMAX"}),
        )
    )  # fmt: skip


def test_trees_of_the_newer_form_give_what_onnx_runtime_gives() -> None:
    nan = float("nan")
    require_right(
        model_of(
            5,
            ("TreeEnsemble", 1, {
                "n_targets": 2,
                "tree_roots": [0, 2],
                "nodes_featureids": [0, 1, 2],
                "nodes_modes": numpy_helper.from_array(np.array([0, 6, 3], "uint8")),
                "nodes_splits": numpy_helper.from_array(np.array([0.25, nan, 0.1], "float32")),
                "membership_values": numpy_helper.from_array(np.array([2, 3, nan], "float32")),
                "nodes_truenodeids": [1, 0, 2],
                "nodes_trueleafs": [0, 1, 1],
                "nodes_falsenodeids": [3, 1, 4],
                "nodes_falseleafs": [1, 1, 1],
                "leaf_targetids": [0, 1, 0, 1, 0],
                "leaf_weights": numpy_helper.from_array(
                    np.array([0.5, -1, 2, 0.25, 1.5], "float32")),
            }),
        )
    )  # fmt: skip
