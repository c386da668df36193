"""Operators of ai.onnx.ml, the domain of classic machine learning, that work on tensors."""

from __future__ import annotations

import numpy as np

from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value

_DOMAIN = "ai.onnx.ml"


@converts("Binarizer", domain=_DOMAIN)
def _binarizer(node: OnnxNode) -> Value:
    dtype = node.dtype()
    above = node.call("Greater", node.value(0), np.array(node.attribute("threshold", 0.0), dtype))
    return node.call("Where", above, np.array(1, dtype), np.array(0, dtype))


@converts("ArrayFeatureExtractor", domain=_DOMAIN)
def _array_feature_extractor(node: OnnxNode) -> Value:
    chosen = node.call("Reshape", node.value(1), np.array([-1]))
    return node.call("Gather", node.value(0), chosen, axis=len(node.shape()) - 1)
