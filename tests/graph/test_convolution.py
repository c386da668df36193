"""Blocked convolutions against torch, over what a convolution can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from convolutions import Case, model_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from tunekit.graph.kernels.convolution import pack_weights

TOLERANCE = 1e-5
Array = npt.NDArray[Any]


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    """A convolution with an input that is large enough for it."""
    small = st.integers(1, 3)
    kind = draw(st.sampled_from(["dense", "grouped", "depthwise", "multiplied"]))
    if kind == "dense":
        groups = 1
        channels = draw(st.sampled_from([1, 3, 5, 7, 8, 16, 24, 56]))
        out_channels = draw(st.sampled_from([1, 4, 6, 8, 12, 24, 32, 56]))
    elif kind == "grouped":
        groups = draw(st.sampled_from([2, 3, 4, 8]))
        channels = groups * draw(st.sampled_from([1, 2, 3, 4, 8, 12, 24]))
        out_channels = groups * draw(st.sampled_from([2, 3, 4, 8, 12]))
    else:
        groups = channels = draw(st.sampled_from([3, 4, 7, 8, 24, 56]))
        out_channels = channels * (2 if kind == "multiplied" else 1)
    kernel = (draw(small), draw(small))
    dilation = (draw(small), draw(small))
    size = [
        (extent - 1) * gap + 1 + draw(st.integers(0, 9))
        for extent, gap in zip(kernel, dilation, strict=True)
    ]
    pad = st.integers(0, 2)
    return Case(
        data=(draw(st.integers(1, 2)), channels, *size),
        weights=(out_channels, channels // groups, *kernel),
        strides=(draw(small), draw(small)),
        padding=(draw(pad), draw(pad), draw(pad), draw(pad)),
        dilation=dilation,
        groups=groups,
    )


@given(cases=st.lists(convolutions(), min_size=5, max_size=5), lanes=st.sampled_from([4, 8, 16]))
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_convolution_gives_what_torch_gives(
    execute: Callable[..., list[Array]],
    relative_error: Callable[[Array, Array], float],
    cases: list[Case],
    lanes: int,
) -> None:
    from tunekit.graph.layouts.convert import convert_layout

    module, data, weights = model_of(cases)
    converted = convert_layout(module, "NCHWc", lanes)
    for case, x, kernel, actual in zip(
        cases, data, weights, execute(converted.module, data), strict=True
    ):
        assert relative_error(case.by_torch(x, kernel), actual) < TOLERANCE, case


# What each becomes: in a blocked form with no transform but the output's (and the input's, where
# it has channels to block), or left as it is.
@pytest.mark.parametrize(
    ("layer", "transforms"),
    [
        (nn.Conv2d(3, 16, 3), 1),
        (nn.Conv2d(16, 16, 3), 2),
        (nn.Conv2d(16, 16, 3, groups=16), 2),
        (nn.Conv2d(16, 16, 3, groups=2), 2),
        (nn.Conv2d(3, 24, 3, groups=3), 2),
        (nn.Conv2d(7, 56, 1), 1),
        (nn.Conv2d(16, 5, 3), 2),
        (nn.Conv2d(24, 24, 3, groups=6), 2),
        (nn.Conv2d(16, 32, 3, groups=16), 2),
        (nn.Conv2d(22, 22, 3, groups=11), 0),
    ],
)
def test_which_convolutions_are_blocked(
    layer: nn.Conv2d, transforms: int, imported: Callable[..., Any]
) -> None:
    from tunekit.graph.layouts.convert import convert_layout

    module = imported(layer, [torch.zeros(1, layer.in_channels, 6, 5)])
    converted = convert_layout(module, "NCHWc", 8)
    assert converted.transforms == transforms
    assert ("conv2d" in _operators(converted.module)) == (transforms == 0)


def _operators(module: Any) -> set[str]:
    from tunekit.ir.relax import bindings_of, operator_name

    return {
        operator_name(value).removeprefix("nn.") for _, value in bindings_of(module["main"]) or ()
    }


def test_weights_are_packed_block_by_block() -> None:
    weights = np.arange(16 * 8 * 3 * 2).reshape(16, 8, 3, 2)
    packed = pack_weights(weights, 4, 8, depthwise=False)
    assert packed.shape == (2, 2, 3, 2, 4, 8)
    for out, inner, row, column in [(0, 0, 0, 0), (9, 5, 2, 1), (15, 7, 1, 0), (7, 4, 0, 1)]:
        place = (out // 8, inner // 4, row, column, inner % 4, out % 8)
        assert packed[place] == weights[out, inner, row, column]
    assert packed.flags.c_contiguous


def test_depthwise_weights_are_packed_without_their_axis_of_one() -> None:
    weights = np.arange(16 * 3 * 2).reshape(16, 1, 3, 2)
    packed = pack_weights(weights, 8, 8, depthwise=True)
    assert packed.shape == (2, 3, 2, 8)
    assert packed[1, 2, 1, 3] == weights[11, 0, 2, 1]
