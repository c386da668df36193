"""What detectors end in, with outputs whose size depends on values."""

from __future__ import annotations

from tunekit.frontends.problems import Unsupported
from tunekit.onnx_frontend.node import OnnxNode
from tunekit.onnx_frontend.registry import converts
from tunekit.onnx_frontend.values import Value


@converts("NonMaxSuppression")
def _non_max_suppression(node: OnnxNode) -> Value:
    """Evaluated where boxes and scores are known; of others nobody knows how many are left."""
    raise Unsupported(
        "how many boxes it leaves depends on the values of its inputs",
        "export the model without it (ultralytics: nms=False), so that it returns all boxes and "
        "scores, and choose among them after the library has run",
    )
