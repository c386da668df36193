"""What models hold in memory, as digests: two of equal code can have other weights."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import torch

from tunekit.cache import content_key

if TYPE_CHECKING:
    import onnx


def tensor_digest(tensor: torch.Tensor) -> str:
    """Of its shape, dtype and values."""
    try:
        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
    except (RuntimeError, TypeError, ValueError):
        # Sparse, quantized, conjugated or without memory: no bytes in a row.
        file = io.BytesIO()
        torch.save(tensor.detach(), file)
        flat = file.getbuffer()
    return f"{list(tensor.shape)} {tensor.dtype} {hashlib.sha256(flat).hexdigest()}"


def module_digest(module: torch.nn.Module) -> str:
    """Of all tensors that a module and its parts hold: parameters, buffers and plain ones."""
    held: dict[str, str] = {}
    for name, part in module.named_modules():
        tensors = {**vars(part), **part._parameters, **part._buffers}
        for key, value in tensors.items():
            if isinstance(value, torch.Tensor):
                held[f"{name}.{key}"] = tensor_digest(value)
    return content_key(held)


def proto_digest(model: onnx.ModelProto) -> str:
    """Of an ONNX model of any size: protobuf writes no message beyond 2 GiB in one piece."""
    graph = model.graph
    pieces = (
        *(*graph.input, *graph.output, *graph.node, *graph.initializer, *graph.sparse_initializer),
        *(*model.functions, *model.opset_import),
    )
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(hashlib.sha256(piece.SerializeToString(deterministic=True)).digest())
    return digest.hexdigest()
