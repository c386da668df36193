"""Kernels in words: sizes, what is fused, and never an error."""

from __future__ import annotations

import pytest
from family_kernels import kernel
from fused_convolutions import Kernel

from tunekit.graph.implementation import ConvProblem, Implementation, annotate
from tunekit.graph.operation import describe


@pytest.mark.parametrize(
    ("fused", "text"),
    [
        (Kernel(epilogue="bias and relu"), "3x3 16 to 24, 9x7 add relu"),
        (Kernel(epilogue="residual"), "3x3 16 to 24, 9x7 add relu"),
        (Kernel("depthwise", stride=2), "3x3 depthwise 24, 5x4"),
        (Kernel(kernel=(1, 1), padding=(0, 0, 0, 0), batch=2), "1x1 16 to 24, 2x9x7"),
    ],
)
def test_a_convolution_is_told_by_its_sizes_and_what_is_fused(fused, text):
    assert describe(fused.module()) == text


def test_a_convolution_by_another_algorithm_says_by_which():
    from tvm.s_tir import Schedule

    schedule = Schedule(Kernel("winograd2", epilogue="bias and relu").module())
    place = Implementation(ConvProblem(1, 16, 24, 9, 7), "winograd2")
    for name, value in annotate(place).items():
        schedule.annotate(schedule.get_sblock("winograd_product"), name, value)
    assert describe(schedule.mod) == "3x3 16 to 24, 9x7 add relu (winograd 2x2)"


def _others():
    from tvm import te, topi

    x = te.placeholder((12, 197, 64), name="x")
    right = te.placeholder((64, 100), name="right")
    bias = te.placeholder((100,), name="bias")
    rows = te.placeholder((197, 64), name="rows")
    yield [rows, right, bias, topi.add(topi.matmul(rows, right), bias)], "matmul 197x100x64 add"
    yield [x, topi.nn.fast_softmax(x, axis=2)], "softmax, 12x197x64"
    yield [x, topi.nn.relu(topi.tanh(x))], "tanh relu, 12x197x64"
    yield [x, topi.clip(x, 0, 6)], "clip, 12x197x64"
    yield [x, topi.divide(topi.sum(x, axis=[1], keepdims=True), 197.0)], "mean 197, 12x64"
    yield [x, topi.max(x, axis=2)], "max 64, 12x197"
    yield [x, topi.transpose(x, [0, 2, 1])], "transpose, 12x64x197"
    gain, shift = (te.placeholder((64,), name=name) for name in ("gain", "shift"))
    normal = topi.nn.layer_norm(x, gain, shift, [2], 1e-6)
    yield [x, gain, shift, normal], "layer norm, 12x197x64"
    image = te.placeholder((1, 8, 112, 112), name="image")
    pooled = topi.nn.pool2d(image, [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], "max")
    yield [image, pooled], "max pool 3x3, 8x56x56"


def test_other_kernels_are_told_by_their_operators_and_the_size_of_their_output():
    for arguments, text in _others():
        assert describe(kernel(arguments)) == text


def test_symbolic_sizes_are_called_by_their_names():
    from tvm import te, topi

    x = te.placeholder((te.var("length", "int64"), 16), name="x")
    assert describe(kernel([x, topi.nn.relu(x)])) == "relu, lengthx16"
    assert describe(kernel([x, topi.sum(x, axis=1)])) == "sum 16, length"


def test_a_kernel_that_nothing_is_known_of_is_described_too():
    from tvm import te, topi

    x = te.placeholder((4, 16), name="x")
    assert describe(kernel([x, topi.cumsum(x, 1)])) == "cumsum generic"


def test_a_long_chain_is_cut_short():
    from tvm import te, topi

    x = chained = te.placeholder((4, 16), name="x")
    for _ in range(40):
        chained = topi.tanh(chained)
    text = describe(kernel([x, chained]))
    assert text.startswith("tanh tanh")
    assert len(text) <= 100
