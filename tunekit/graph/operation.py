"""What a kernel computes, in terms that do not depend on layout, names or runtime.

A convolution or matrix product is told by its loops: which of them its two operands and its
result share. The same sizes come out of the shapes that other runtimes report for their nodes, so
a kernel finds its counterpart there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tunekit.graph.implementation import ATTENTION, CHANNELS, ConvProblem, implementation_of
from tunekit.graph.kernels.winograd import KERNEL
from tunekit.ir.tir import Block, Kernel, Role

if TYPE_CHECKING:
    from tvm.ir import IRModule

_LONGEST_DESCRIPTION = 100

# What people call the blocks whose names do not say it.
_BLOCK_WORDS = {
    "pool_max": "max pool",
    "adaptive_pool_max": "max pool",
    "pool_avg": "average pool",
    "adaptive_pool_avg": "average pool",
    "softmax_norm": "softmax",
    "fast_exp": "exp",
    "fast_tanh": "tanh",
    "fast_erf": "erf",
}
# Blocks that are a step of what a later block is named for.
_STEPS = re.compile(
    r"pad(ded|_temp)?|(adaptive_)?pool_sum|softmax_(?!norm).*|winograd_.*|.*_(sum|mean|red_temp)"
    r"|half|scaled"
)
# By the value that a block without a name of its own stores.
_EXPRESSION_WORDS = {
    "Add": "sum",
    "Mul": "product",
    "Max": "max",
    "Min": "min",
    "Relu": "relu",
    "Clip": "clip",
    "Cast": "cast",
    "Select": "select",
    **{name: name for name in ("exp", "log", "tanh", "erf", "sqrt", "sigmoid", "rsqrt", "fabs")},
}
_STEP_WORDS = {
    "softmax": ("exp",),
    "sigmoid": ("exp",),
    "silu": ("exp", "sigmoid"),
    "gelu": ("erf",),
}


@dataclass(frozen=True)
class Operation:
    """A convolution or a matrix product.

    Attributes:
        groups: independent ones side by side: convolution groups, matrices of a batch.
        places: extents of the output besides groups and channels; without those of 1.
        outputs: output channels of a group; columns of the product.
        inputs: input channels of a group; what the product sums over.
        window: extents of the convolution's kernel; empty for a matrix product.
    """

    groups: int
    places: tuple[int, ...]
    outputs: int
    inputs: int
    window: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Equal for operations that do the same work, however they are written.

        A convolution with a window of one is a matrix product, and which operand of a product is
        called the weight is a matter of taste.
        """
        rows = math.prod(self.places)
        if math.prod(self.window) > 1:
            window = "x".join(map(str, self.window))
            return f"{window} window, {self.groups * self.outputs}x{rows}, sums {self.inputs}"
        small, large = sorted((rows, self.outputs))
        return f"{self.groups} of {small}x{large}, sums {self.inputs}"

    @property
    def multiply_adds(self) -> int:
        """Of the direct computation."""
        return (
            self.groups
            * math.prod(self.places)
            * self.outputs
            * self.inputs
            * math.prod(self.window)
        )

    def __str__(self) -> str:
        size = "x".join(map(str, self.places)) or "1"
        if not self.window:
            batch = f"{self.groups} of " if self.groups > 1 else ""
            return f"{batch}{math.prod(self.places)}x{self.outputs}x{self.inputs}"
        window = "x".join(map(str, self.window))
        if self.inputs == 1 and self.groups > 1:
            return f"{window} depthwise {self.groups * self.outputs}, {size}"
        grouped = f" in {self.groups} groups" if self.groups > 1 else ""
        return (
            f"{window} {self.groups * self.inputs} to {self.groups * self.outputs}{grouped}, {size}"
        )


def convolution_of(
    weight: Sequence[int], output: Sequence[int], channels: int | None = None
) -> Operation:
    """The convolution with a weight (O, I per group, *window) and an output (N, O, *places).

    Args:
        weight: shape of the weight.
        output: shape of the output.
        channels: of the input, all groups together; one group where it is not given.
    """
    groups = max(channels // weight[1], 1) if channels else 1
    return Operation(
        groups=groups,
        places=_larger_than_one((output[0], *output[2:])),
        outputs=weight[0] // groups,
        inputs=weight[1],
        window=tuple(weight[2:]),
    )


def product_of(left: Sequence[int], output: Sequence[int], *, batched: bool) -> Operation:
    """The product with a left operand (..., M, K) and an output (..., M, N).

    Args:
        left: shape of the left operand.
        output: shape of the output.
        batched: the right operand has a matrix for each of the leading extents; otherwise it is
            one matrix, and these are more rows of one product.
    """
    rows = output[-2:-1] if batched else output[:-1]
    return Operation(
        groups=math.prod(output[:-2]) if batched else 1,
        places=_larger_than_one(rows),
        outputs=output[-1],
        inputs=left[-1],
    )


def describe(module: IRModule) -> str:
    """What a workload's `main` computes, in words for people: "3x3 512 to 512, 7x7 add relu
    (winograd 2x2)", "matmul 128x1000x512 add", "max pool 3x3, 8x56x56x8", "softmax, 12x197x197",
    "attention 12 of 197x64 over 197".

    Axes of extent one are left out, and symbolic ones are called by their names. A kernel that was
    lowered already is said to be one.
    """
    try:
        kernel = Kernel.of(module)
    # TVM's refusals have no common class.
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError):
        return "a kernel that is lowered already"
    for block in kernel.blocks:
        if ATTENTION in block.annotations:
            return f"attention {block.annotations[ATTENTION]}"
    implementation = implementation_of(module)
    contraction = _largest_contraction(kernel)
    if contraction is None:
        words = _words(kernel.blocks) or [str(module["main"].body.block.name_hint)]
        return _shortened(", ".join([" ".join(words).replace("_", " "), *_output_sizes(kernel)]))
    operation, block = contraction
    if implementation is not None:
        operation = _of_problem(implementation.problem)
    follows = kernel.blocks[kernel.blocks.index(block) + 1 :]
    algorithm = implementation.algorithm if implementation else "direct"
    return described(operation, _words(follows), algorithm)


def described(operation: Operation, fused: Iterable[str], algorithm: str = "direct") -> str:
    """A convolution or product with its sizes, and the operators that are fused to it."""
    parts = [str(operation) if operation.window else f"matmul {operation}", *fused]
    if algorithm.startswith("winograd"):
        m = algorithm.removeprefix("winograd")
        parts.append(f"(winograd {m}x{m})")
    return _shortened(" ".join(part for part in parts if part))


def operation_of(module: IRModule) -> Operation | None:
    """The largest convolution or matrix product in a workload's `main`; None without any.

    A convolution by Winograd's algorithm is the convolution that it takes the place of.
    """
    implementation = implementation_of(module)
    if implementation is not None:
        return _of_problem(implementation.problem)
    contraction = _largest_contraction(Kernel.of(module))
    return None if contraction is None else contraction[0]


def _of_problem(problem: ConvProblem) -> Operation:
    places = _larger_than_one((problem.batch, problem.height, problem.width))
    return Operation(1, places, problem.out_channels, problem.in_channels, (KERNEL, KERNEL))


def _largest_contraction(kernel: Kernel) -> tuple[Operation, Block] | None:
    contractions = [
        (operation, block)
        for block in kernel.blocks
        if (operation := _contraction(block)) is not None
    ]
    return max(contractions, key=lambda pair: pair[0].multiply_adds, default=None)


def _contraction(block: Block) -> Operation | None:
    """What a block computes, if that is a sum of products of two operands."""
    if not block.static or not block.reduced:
        return None
    names = [str(axis.var.name) for axis in block.axes]
    extents = dict(zip(names, block.extents, strict=True))
    if len(extents) != len(block.axes):
        return None
    spatial, reduced = block.divide(names)
    written = {str(write.source) for write in block.node.writes}
    operands = {
        str(read.source): [_names_in(extent.min) & set(extents) for extent in read.region]
        for read in block.node.reads
        if str(read.source) not in written
    }
    if len(operands) != 2:
        return None
    data, weight = operands.values()
    sums = set(reduced)
    if _window(weight, data, extents, sums) and not _window(data, weight, extents, sums):
        data, weight = weight, data
    window = _window(data, weight, extents, sums)
    in_data, in_weight = (set().union(*operand) for operand in (data, weight))
    if not sums <= in_data or not sums <= in_weight:
        return None

    def sizes(names: list[str]) -> tuple[int, ...]:
        return tuple(extents[name] for name in names)

    operation = Operation(
        groups=math.prod(sizes([n for n in spatial if n in in_data and n in in_weight])),
        places=_larger_than_one(sizes([n for n in spatial if n in in_data and n not in in_weight])),
        outputs=math.prod(sizes([n for n in spatial if n not in in_data and n in in_weight])),
        inputs=math.prod(sizes([n for n in reduced if n not in window])),
        window=sizes(window),
    )
    without_padding = block.annotations.get(CHANNELS)
    if without_padding is None:
        return operation
    groups, inputs, outputs = map(int, str(without_padding).split())
    return replace(operation, groups=groups, inputs=inputs, outputs=outputs)


def _window(
    data: list[set[str]], weight: list[set[str]], extents: dict[str, int], reduced: set[str]
) -> list[str]:
    """The reduced axes that move along with an axis of the output over the data, in order."""
    in_weight = set().union(*weight)
    axes = []
    for names in data:
        moving = [name for name in names if name not in reduced and name not in in_weight]
        if moving:
            axes += [name for name in extents if name in names and name in reduced]
    return axes


def _names_in(expression: Any) -> set[str]:
    from tvm.tirx.analysis import undefined_vars

    return {str(variable.name) for variable in undefined_vars(expression)}


def _larger_than_one(extents: Sequence[int]) -> tuple[int, ...]:
    return tuple(extent for extent in extents if extent > 1)


def _words(blocks: Iterable[Block]) -> list[str]:
    """The operators that blocks compute, in program order."""
    words: list[str] = []
    window = ""
    for block in blocks:
        name = re.sub(r"^T_|_?\d+$", "", block.name)
        if block.reduces:
            window = _sizes(block, "reduced")
        if _STEPS.fullmatch(name):
            continue
        word = _BLOCK_WORDS.get(name) or name.replace("_", " ")
        if name.endswith("_red"):
            word = f"{_EXPRESSION_WORDS.get(_expression(block), 'reduce')} {window}"
        elif name == "compute":
            word = _EXPRESSION_WORDS.get(_expression(block), "elementwise")
        elif word.endswith("pool"):
            word = f"{word} {window}"
        elif word == "divide" and words and words[-1] == f"sum {window}" and _by_constant(block):
            words[-1] = f"mean {window}"
            continue
        while words and words[-1] in _STEP_WORDS.get(word, ()):
            words.pop()
        words.append(word)
    return words


def _expression(block: Block) -> str:
    """Of what kind the value is that a block stores: TVM's name of the node, or of what is called;
    a maximum with zero is "Relu", the maximum of a minimum "Clip"."""
    value: Any = getattr(block.node.body, "value", None)
    kind = type(value).__name__
    if kind == "Call":
        return str(getattr(value.op, "name", "")).rpartition(".")[2]
    if kind == "Max" and type(value.a).__name__ == "Min":
        return "Clip"
    if kind == "Max" and not block.reduces and float(getattr(value.b, "value", 1)) == 0:
        return "Relu"
    return kind


def _by_constant(block: Block) -> bool:
    return hasattr(getattr(block.node.body.value, "b", None), "value")


def _output_sizes(kernel: Kernel) -> list[str]:
    return [_sizes(block, "spatial") for block in kernel.blocks[-1:] if block.axes]


def _sizes(block: Block, role: Role) -> str:
    extents = [
        getattr(variable.dom.extent, "name", "?") if axis.extent is None else str(axis.extent)
        for variable, axis in zip(block.node.iter_vars, block.axes, strict=True)
        if axis.role == role and axis.extent != 1
    ]
    return "x".join(extents) or "1"


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST_DESCRIPTION:
        return text
    return f"{text[: _LONGEST_DESCRIPTION - 3].rstrip()}..."
