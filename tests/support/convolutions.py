"""Convolutions of one to three dimensions in one Relax model, and what torch gives for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A convolution with an input that is large enough for it.

    Attributes:
        data: (N, C, *size).
        weights: (O, C / groups, *window).
        strides, dilation: a number for each dimension.
        padding: before along each dimension, then behind.
    """

    data: tuple[int, ...]
    weights: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def by_torch(self, data: Array, weights: Array) -> Array:
        dimensions = len(self.strides)
        sides = zip(self.padding[:dimensions], self.padding[dimensions:], strict=True)
        around = [width for side in reversed([*sides]) for width in side]
        padded, kernel = F.pad(torch.from_numpy(data), around), torch.from_numpy(weights)
        convolution: Any = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dimensions]
        result: Array = convolution(
            padded, kernel, None, self.strides, 0, self.dilation, self.groups
        ).numpy()
        return result


def model_of(cases: Sequence[Case]) -> tuple[Any, list[Array], list[Array]]:
    """A Relax module of all cases, each with an input and an output, random inputs and weights."""
    from tvm import relax

    operators = {1: relax.op.nn.conv1d, 2: relax.op.nn.conv2d, 3: relax.op.nn.conv3d}
    random = np.random.default_rng(0)
    data = [random.standard_normal(case.data, "float32") for case in cases]
    weights = [random.standard_normal(case.weights, "float32") for case in cases]
    builder = relax.BlockBuilder()
    inputs = [
        relax.Var(f"x{index}", relax.TensorType(case.data, "float32"))
        for index, case in enumerate(cases)
    ]
    with builder.function("main", inputs):
        with builder.dataflow():
            outputs = [
                builder.emit(
                    operators[len(case.strides)](
                        x,
                        relax.const(kernel),
                        strides=case.strides,
                        padding=case.padding,
                        dilation=case.dilation,
                        groups=case.groups,
                    )
                )
                for x, kernel, case in zip(inputs, weights, cases, strict=True)
            ]
            result = builder.emit_output(relax.Tuple(outputs))
        builder.emit_func_output(result)
    return builder.get(), data, weights
