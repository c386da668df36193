"""Operators of any runtime in the same terms: what kind of work, and how much of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tunekit.graph.operation import Operation, convolution_of, described, product_of

Kind = Literal[
    "convolution",
    "matrix product",
    "pooling and sums",
    "softmax",
    "normalization",
    "elementwise",
    "layout",
    "data movement",
    "other",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

_CONVOLUTIONS = ("Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose")
_PRODUCTS = ("Gemm", "FusedGemm", "MatMul", "FusedMatMul")

_ONNX_KINDS: dict[str, Kind] = {
    **dict.fromkeys(_CONVOLUTIONS, "convolution"),
    **dict.fromkeys(_PRODUCTS, "matrix product"),
    **dict.fromkeys(("ReorderInput", "ReorderOutput"), "layout"),
    **dict.fromkeys(("Softmax", "LogSoftmax"), "softmax"),
    **dict.fromkeys(
        (
            "Transpose",
            "Concat",
            "Reshape",
            "Flatten",
            "Gather",
            "Slice",
            "Split",
            "Squeeze",
            "Unsqueeze",
            "Pad",
            "Expand",
            "Tile",
            "Resize",
            "Upsample",
            "Identity",
            "Shape",
            "ScatterND",
            "DepthToSpace",
        ),
        "data movement",
    ),
}
_OPENVINO_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("Convolution", "Deconvolution", "GroupConvolution"), "convolution"),
    **dict.fromkeys(("FullyConnected", "MatMul"), "matrix product"),
    **dict.fromkeys(("Pooling", "AdaptivePooling", "Reduce"), "pooling and sums"),
    **dict.fromkeys(("Eltwise", "Math", "Subgraph", "Convert"), "elementwise"),
    **dict.fromkeys(("Softmax", "SoftMax", "LogSoftmax"), "softmax"),
    **dict.fromkeys(("MVN", "RMSNorm", "NormalizeL2", "GroupNormalization"), "normalization"),
    "Reorder": "layout",
    **dict.fromkeys(
        (
            "Transpose",
            "Concatenation",
            "Concat",
            "Reshape",
            "Gather",
            "StridedSlice",
            "Split",
            "Pad",
            "Broadcast",
            "Tile",
            "Interpolate",
            "DepthToSpace",
            "ScatterUpdate",
        ),
        "data movement",
    ),
}
# The first that occurs in a name decides: of a fused chain, what costs most.
_WORDS: tuple[tuple[Kind, str], ...] = (
    ("convolution", r"conv"),
    ("matrix product", r"matmul|dense|einsum"),
    ("softmax", r"softmax"),
    ("normalization", r"norm|instancenorm"),
    ("layout", r"layout_transform|reorder"),
    ("pooling and sums", r"pool|mean|variance|(?:^|_)(?:sum|max|min|prod|argmax|argmin)\d*(?:_|$)"),
    (
        "data movement",
        r"transpose|permute|concat|slice|take|gather|split|reshape|expand_dims|squeeze|pad"
        r"|broadcast|tile|repeat|resize|flatten|stack|scatter",
    ),
)
_ELEMENTWISE = (
    r"add|sub|mul|div|relu|sigmoid|swish|silu|gelu|tanh|exp|log|clip|sqrt|power|erf|neg|abs|cast"
    r"|where|less|greater|equal|hardswish|elu|maximum|minimum"
)


@dataclass(frozen=True)
class Node:
    """One operator of another runtime, in one run of the model.

    Attributes:
        name: as the runtime has it.
        op: the runtime's name for what it does.
        kind: the same in tunekit's words.
        key: of its convolution or product, as in `Operation.key`; None for anything else.
        work: what that is, for people.
        elements: of its output.
        seconds: in one run.
    """

    name: str
    op: str
    kind: Kind
    key: str | None
    work: str
    elements: int
    seconds: float


def kind_of_function(name: str) -> Kind:
    """The kind of a kernel by the operators that its name lists."""
    for kind, pattern in _WORDS:
        if re.search(pattern, name):
            return kind
    return "elementwise" if re.search(_ELEMENTWISE, name) else "other"


def kind_of_onnx(op: str) -> Kind:
    """The kind of an ONNX Runtime operator, its own fused ones included."""
    return _ONNX_KINDS.get(op) or kind_of_function(_snake(op))


def kind_of_openvino(layer: str) -> Kind:
    """The kind of an OpenVINO layer type."""
    return _OPENVINO_KINDS.get(layer) or kind_of_function(_snake(layer))


def onnx_operation(
    op: str, inputs: Sequence[Sequence[int]], output: Sequence[int]
) -> Operation | None:
    """What an ONNX Runtime node computes; None where the shapes it reports do not say.

    It leaves out the inputs that it packed in advance.
    """
    if op in _CONVOLUTIONS and len(inputs) > 1 and len(inputs[1]) == len(output) > 2:
        return convolution_of(inputs[1], output, channels=_channels(inputs[0], op))
    if op in _PRODUCTS and inputs and len(inputs[0]) == len(output) > 1:
        batched = len(inputs) > 1 and len(inputs[1]) > 2
        return product_of(inputs[0], output, batched=batched)
    return None


def openvino_operation(
    layer: str, inputs: Sequence[Sequence[int]], output: Sequence[int]
) -> Operation | None:
    """What an OpenVINO layer computes; None where the shapes it reports do not say."""
    if _OPENVINO_KINDS.get(layer) == "convolution" and len(inputs) > 1 and len(output) > 2:
        weight = inputs[1]
        if len(weight) == len(output) + 1:  # groups first
            weight = (weight[0] * weight[1], *weight[2:])
        if len(weight) == len(output):
            return convolution_of(weight, output, channels=inputs[0][1])
    if _OPENVINO_KINDS.get(layer) == "matrix product" and inputs and len(output) > 1:
        batched = layer == "MatMul" and len(inputs) > 1 and len(inputs[1]) > 2
        return product_of(inputs[0], output, batched=batched)
    return None


def kernel_text(name: str, operation: Operation | None) -> str:
    """A kernel for people, as `describe` puts it, by its name and its convolution or product."""
    plain = re.sub(r"\d+(?=_|$)|(?<![a-z0-9])tir_", "", name.removeprefix("fused_"))
    if operation is None:
        return plain.replace("_", " ")
    algorithm = re.match(r"winograd\d", name.removeprefix("fused_"))
    anchor = re.match(
        r"(?:winograd\d*_)?(?:blocked_)?(?:depthwise_|group_)?(?:convolution|conv2d_?\w*?|matmul)"
        r"(?:_blocked|_nchw\w*|_nhwc)?(?=_|$)",
        plain,
    )
    fused = (plain[anchor.end() :] if anchor else plain).strip("_").replace("_", " ")
    return described(operation, [fused], algorithm[0] if algorithm else "direct")


def _channels(data: Sequence[int], op: str) -> int | None:
    return data[-1] if op.startswith("Nhwc") else data[1]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def as_dict(node: Node) -> Mapping[str, object]:
    """The node as JSON can carry it."""
    from dataclasses import asdict

    return asdict(node)
