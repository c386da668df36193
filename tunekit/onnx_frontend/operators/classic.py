"""Operators of ai.onnx.ml, the domain of classic machine learning, that work on tensors."""

from __future__ import annotations

import numpy as np

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value, dtype_of

_DOMAIN = "ai.onnx.ml"
LABELS_HINT = "train and export the classifier with integers as labels"
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_NORMS = {"L1": "ReduceL1", "L2": "ReduceL2", "MAX": "ReduceMax"}


def transformed(node: OnnxNode, scores: Value) -> Value:
    """Scores as the attribute `post_transform` says."""
    kind = node.attribute("post_transform", "NONE")
    name = kind if isinstance(kind, str) else _TRANSFORMS[int(kind)]
    if name == "SOFTMAX":
        return node.call("Softmax", scores, axis=-1)
    if name == "LOGISTIC":
        return node.call("Sigmoid", scores)
    if name != "NONE":
        raise Unsupported(f"its post_transform is {name}")
    return scores


@converts("Binarizer", domain=_DOMAIN)
def _binarizer(node: OnnxNode) -> Value:
    dtype = node.dtype()
    above = node.call("Greater", node.value(0), np.array(node.attribute("threshold", 0.0), dtype))
    return node.call("Where", above, np.array(1, dtype), np.array(0, dtype))


@converts("ArrayFeatureExtractor", domain=_DOMAIN)
def _array_feature_extractor(node: OnnxNode) -> Value:
    chosen = node.call("Reshape", node.value(1), np.array([-1]))
    return node.call("Gather", node.value(0), chosen, axis=len(node.shape()) - 1)


@converts("Scaler", domain=_DOMAIN)
def _scaler(node: OnnxNode) -> Value:
    data = _single(node)
    offset, scale = (np.array(node.attribute(name), "float32") for name in ("offset", "scale"))
    return node.call("Mul", node.call("Sub", data, offset), scale)


@converts("Normalizer", domain=_DOMAIN)
def _normalizer(node: OnnxNode) -> Value:
    """Rows of the norm 0 stay as they are."""
    data, operator = _single(node), _NORMS[node.attribute("norm", "MAX")]
    norm = node.call(operator, data, np.array([-1]))
    zero, one = (np.array(number, "float32") for number in (0, 1))
    return node.call("Div", data, node.call("Where", node.call("Equal", norm, zero), one, norm))


@converts("Imputer", domain=_DOMAIN)
def _imputer(node: OnnxNode) -> Value:
    data, dtype = node.value(0), node.dtype()
    if dtype.startswith("float"):
        wanted, given = node.attribute("replaced_value_float", 0.0), "imputed_value_floats"
    else:
        wanted, given = node.attribute("replaced_value_int64", 0), "imputed_value_int64s"
    if np.isnan(wanted):
        found = node.call("IsNaN", data)
    else:
        found = node.call("Equal", data, np.array(wanted, dtype))
    return node.call("Where", found, np.array(node.attribute(given), dtype), data)


@converts("LinearRegressor", domain=_DOMAIN)
def _linear_regressor(node: OnnxNode) -> Value:
    return transformed(node, _linear(node, int(node.attribute("targets", 1))))


@converts("LinearClassifier", domain=_DOMAIN)
def _linear_classifier(node: OnnxNode) -> Value:
    labels = node.attribute("classlabels_ints")
    if not labels:
        raise Unsupported("its labels are text", hint=LABELS_HINT)
    rows = len(node.attribute("coefficients")) // node.shape()[-1]
    if rows != len(labels):
        raise Unsupported("it gives one score for two classes")
    scores = _linear(node, rows)
    best = node.call("ArgMax", scores, axis=1, keepdims=0)
    return node.call("Gather", np.array(labels, np.int64), best), transformed(node, scores)


def _linear(node: OnnxNode, rows: int) -> Value:
    weights = np.array(node.attribute("coefficients"), "float32").reshape(rows, -1)
    result = node.call("MatMul", _single(node), weights.T)
    bias = node.attribute("intercepts")
    return node.call("Add", result, np.array(bias, "float32")) if bias else result


def _single(node: OnnxNode) -> Value:
    data = node.value(0)
    return data if dtype_of(data) == "float32" else node.call("Cast", data, to=1)
