"""Layouts: how activations lie in memory, and what it costs to change that.

NHWC is TVM's own conversion, NCHWc tunekit's (see `blocking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tunekit.graph.implementation import Choice, ConvProblem
from tunekit.graph.layouts.group_norm_rows import group_norms_in_rows
from tunekit.graph.layouts.nchwc import Blocking
from tunekit.graph.layouts.nhwc import to_channels_last
from tunekit.ir.relax import bindings_of, operator_name

if TYPE_CHECKING:
    from tvm.ir import IRModule

Layout = Literal["NCHW", "NHWC", "NCHWc"]


@dataclass(frozen=True)
class LaidOut:
    """A module in its layout.

    Attributes:
        module: the converted module; its `main` takes and returns what it did before.
        layout: the layout it is in.
        transforms: layout transforms of activations that remain in it.
        problems: the convolutions that have another algorithm than the direct one.
    """

    module: IRModule
    layout: Layout
    transforms: int
    problems: frozenset[ConvProblem] = frozenset()


def choose_layout(module: IRModule, kind: str) -> Layout:
    """The layout for `auto`: blocked for convolutions on a CPU, else as the model has it."""
    pairs = bindings_of(module["main"])
    convolutions = sum(
        operator_name(value) in ("nn.conv2d", "nn.conv2d_transpose", "nn.conv3d")
        for _, value in pairs or ()
    )
    return "NCHWc" if convolutions and kind == "llvm" else "NCHW"


def convert_layout(
    module: IRModule, layout: Layout, vector_lanes: int, choice: Choice | None = None
) -> LaidOut:
    """Brings the activations of a model in NCHW into `layout`.

    Args:
        module: Relax module with batch norm folded and weights bound as constants.
        layout: the layout wanted.
        vector_lanes: fp32 lanes of the target's vector registers: the largest channel block.
        choice: algorithms of convolutions; direct where it says nothing. Blocked layout only.
    """
    if layout != "NCHWc":
        module = group_norms_in_rows(module)
    if layout == "NHWC":
        converted, transforms = to_channels_last(module)
        return LaidOut(converted, layout, transforms)
    if layout == "NCHWc":
        blocking = Blocking(vector_lanes, choice or {})
        converted = blocking.convert(module)
        return LaidOut(converted, layout, blocking.transforms, blocking.problems)
    return LaidOut(module, layout, transforms=0)
