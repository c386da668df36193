"""A task: a kernel to be tuned, with its weight in one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tunekit.graph.implementation import Implementation


@dataclass(frozen=True)
class Task:
    """One workload and its place in a model.

    Attributes:
        name: of its function, made of the operators fused in it.
        module: the TIR function as a module whose only function is `main`.
        structural_hash: of `module`, as text; equal for structurally equal functions.
        weight: calls expected in one run of the model.
        flops: floating-point operations of one call.
        bytes: size of all tensors that one call reads and writes.
        implementation: the convolution that it computes and by which algorithm, where there is a
            choice.
    """

    name: str
    module: IRModule
    structural_hash: str
    weight: int
    flops: float
    bytes: int
    implementation: Implementation | None = None
