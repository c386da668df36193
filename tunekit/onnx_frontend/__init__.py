"""From ONNX to Relax: the graph is interpreted node by node, with values where Relax has variables.

What sizes decide is worked out on the way (shapes are fixed), so that only tensor computations
remain; a node that cannot be converted is named with the reason.
"""

from tunekit.onnx_frontend.convert import proto_to_relax

__all__ = ["proto_to_relax"]
