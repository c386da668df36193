"""Counterparts: by sizes, then by kind, and nothing is lost on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.attribution.matching import KernelWork, match
from tunekit.attribution.nodes import (
    KINDS,
    Node,
    kernel_text,
    kind_of_function,
    kind_of_onnx,
    kind_of_openvino,
    onnx_operation,
    openvino_operation,
)
from tunekit.graph.operation import Operation


def kernel(name, kind="convolution", key=None, elements=100, calls=1):
    return KernelWork(name, kind, key, elements, calls)


def node(name, kind="convolution", key=None, elements=100, seconds=1.0):
    return Node(name, "Op", kind, key, "", elements, seconds)


def test_kernels_with_the_same_sizes_share_their_nodes_by_calls():
    found = match(
        [kernel("a", key="3x3", calls=3), kernel("b", key="3x3")],
        [node("x", key="3x3", seconds=2.0), node("y", key="3x3", seconds=6.0)],
    )
    assert found.counterparts["a"].seconds == pytest.approx(6.0)
    assert found.counterparts["b"].seconds == pytest.approx(2.0)
    assert found.counterparts["a"].nodes == ("x", "y")
    assert found.unmatched == ()


def test_a_convolution_is_never_matched_by_its_kind_alone():
    found = match([kernel("a", key="3x3")], [node("x", key="1x1")])
    assert found.counterparts == {}
    assert [one.name for one in found.unmatched] == ["x"]


def test_size_goes_before_kind():
    kernels = [kernel("a", "softmax", elements=10), kernel("b", "softmax", elements=20)]
    nodes = [node("x", "softmax", elements=20), node("y", "softmax", elements=30)]
    found = match(kernels, nodes)
    assert (found.counterparts["b"].nodes, found.counterparts["b"].by) == (("x",), "size")
    assert (found.counterparts["a"].nodes, found.counterparts["a"].by) == (("y",), "kind")


kinds = st.sampled_from(KINDS)
keys = st.sampled_from([None, "a", "b", "c"])
sizes = st.integers(1, 3)


@given(
    st.lists(st.tuples(kinds, keys, sizes, st.integers(1, 4)), max_size=8),
    st.lists(st.tuples(kinds, keys, sizes, st.floats(0, 10)), max_size=8),
)
def test_no_time_is_lost_or_counted_twice(kernels, nodes):
    found = match(
        [kernel(f"k{i}", *values) for i, values in enumerate(kernels)],
        [node(f"n{i}", *values) for i, values in enumerate(nodes)],
    )
    matched = sum(one.seconds for one in found.counterparts.values())
    alone = sum(one.seconds for one in found.unmatched)
    assert matched + alone == pytest.approx(sum(seconds for *_, seconds in nodes))


def test_a_pointwise_convolution_is_a_product_of_the_same_sizes():
    convolution = Operation(1, (56, 56), outputs=64, inputs=256, window=(1, 1))
    assert convolution.key == Operation(1, (3136,), outputs=64, inputs=256).key
    assert convolution.key != replace(convolution, window=(3, 3)).key
    # Which of the two operands is the weight does not matter.
    assert convolution.key == Operation(1, (64,), outputs=3136, inputs=256).key


def test_groups_are_told_from_each_runtimes_shapes():
    depthwise = Operation(32, (8, 8), outputs=1, inputs=1, window=(3, 3))
    data, output = (1, 32, 16, 16), (1, 32, 8, 8)
    for found in (
        onnx_operation("Conv", [data, (32, 1, 3, 3)], output),
        openvino_operation("Convolution", [data, (32, 1, 1, 3, 3)], output),
    ):
        assert found == depthwise
    assert str(depthwise) == "3x3 depthwise 32, 8x8"
    grouped = onnx_operation("Conv", [(1, 64, 8, 8), (32, 16, 3, 3)], (1, 32, 8, 8))
    assert (grouped.groups, grouped.outputs, grouped.inputs) == (4, 8, 16)


def test_a_weight_that_was_packed_in_advance_is_not_needed_for_products():
    assert onnx_operation("Gemm", [(1, 64), (10,)], (1, 10)) == Operation(1, (), 10, 64)
    attention = onnx_operation("MatMul", [(1, 12, 197, 64), (1, 12, 64, 197)], (1, 12, 197, 197))
    assert attention == Operation(12, (197,), 197, 64)
    assert onnx_operation("Conv", [(1, 64, 8, 8), (32,)], (1, 32, 8, 8)) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fused_blocked_convolution1_add_relu", "convolution"),
        ("fused_winograd4_conv2d_blocked_add1", "convolution"),
        ("fused_matmul_add", "matrix product"),
        ("adaptive_avg_pool2d1", "pooling and sums"),
        ("mean1", "pooling and sums"),
        ("fused_add_sigmoid_multiply", "elementwise"),
        ("layer_norm1", "normalization"),
        ("softmax", "softmax"),
        ("fused_transpose_reshape", "data movement"),
        ("te_layout_transform", "layout"),
        ("maximum", "elementwise"),
        ("nobody_knows", "other"),
    ],
)
def test_kernels_are_of_the_kind_of_their_costliest_operator(name, kind):
    assert kind_of_function(name) == kind


def test_runtimes_names_are_of_the_same_kinds():
    assert kind_of_onnx("GlobalAveragePool") == "pooling and sums"
    assert kind_of_onnx("SkipLayerNormalization") == "normalization"
    assert kind_of_onnx("QuickGelu") == kind_of_onnx("Add") == "elementwise"
    assert kind_of_onnx("ReorderInput") == kind_of_openvino("Reorder") == "layout"
    assert kind_of_openvino("Pooling") == kind_of_openvino("Reduce") == "pooling and sums"


def test_a_kernels_text_has_its_sizes_its_algorithm_and_what_is_fused():
    operation = Operation(1, (14, 14), 256, 256, (3, 3))
    direct = kernel_text("fused_blocked_convolution6_add5_relu31", operation)
    assert direct == "3x3 256 to 256, 14x14 add relu"
    winograd = kernel_text("fused_winograd4_conv2d_blocked_add5_relu31", operation)
    assert winograd == "3x3 256 to 256, 14x14 add relu (winograd 4x4)"
    assert kernel_text("max_pool2d1", None) == "max pool2d"
    assert kernel_text("fused_add40_tir_clip14_divide8", None) == "add clip divide"
    assert kernel_text("tir_clip2", None) == "clip"
