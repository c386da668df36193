"""Winograd's convolutions: the same numbers with fewer multiplications, for the layers they fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from torch import nn

from tunekit.graph.algorithms import (
    accurate,
    alternatives,
    choose,
    choose_direct,
    choose_unmeasured,
)
from tunekit.graph.implementation import (
    Choice,
    ConvProblem,
    Implementation,
    annotate,
    implementation_of,
)
from tunekit.graph.kernels.winograd import TILES, rounding_error, tiling, transform_weights
from tunekit.graph.layouts.convert import convert_layout
from tunekit.models.sources.onnx_file import OnnxModel

Array = npt.NDArray[Any]

# F(4x4, 3x3) errs about five times as much as the direct computation.
TOLERANCE = 2e-5
SITE = ConvProblem(1, 64, 64, 56, 56)


class Task:
    """What a choice knows of a task."""

    def __init__(
        self, structural_hash: str, weight: int, implementation: Implementation | None
    ) -> None:
        self.structural_hash = structural_hash
        self.weight = weight
        self.implementation = implementation


@given(
    channels=st.tuples(st.sampled_from([16, 24, 32]), st.sampled_from([16, 40])),
    size=st.tuples(st.integers(4, 17), st.integers(4, 17)),
    padding=st.sampled_from([0, 1]),
    batch=st.sampled_from([1, 2]),
    lanes=st.sampled_from([4, 8, 16]),
)
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_tile_size_gives_what_torch_gives(
    imported: Callable[..., Any],
    execute: Callable[..., list[Array]],
    relative_error: Callable[[Array, Array], float],
    channels: tuple[int, int],
    size: tuple[int, int],
    padding: int,
    batch: int,
    lanes: int,
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(*channels, 3, padding=padding).eval()
    data = torch.randn(batch, channels[0], *size)
    with torch.no_grad():
        expected = layer(data).numpy()
    problem = ConvProblem(batch, *channels, *expected.shape[2:])
    module = imported(layer, [data])
    for m in TILES:
        choice: Choice = {problem: "winograd2" if m == 2 else "winograd4"}
        converted = convert_layout(module, "NCHWc", lanes, choice)
        # Sizes whose tiles stick out too far have no alternative and stay direct.
        [actual] = execute(converted.module, [data.numpy()])
        assert relative_error(expected, actual) < TOLERANCE, (m, problem)


@pytest.mark.parametrize("m", TILES)
@pytest.mark.parametrize("channels", [16, 128])
def test_the_error_that_is_told_is_the_one_that_the_kernel_has(
    imported: Callable[..., Any], execute: Callable[..., list[Array]], m: int, channels: int
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, 16, 3, padding=1, bias=False).eval()
    nn.init.normal_(layer.weight)
    data = torch.randn(1, channels, 16, 16)
    with torch.no_grad():
        expected = layer.double()(data.double()).numpy()
    choice: Choice = {ConvProblem(1, channels, 16, 16, 16): "winograd2" if m == 2 else "winograd4"}
    converted = convert_layout(imported(layer.float(), [data]), "NCHWc", 8, choice)
    [actual] = execute(converted.module, [data.numpy()])
    measured = np.abs(actual - expected).max() / np.abs(expected).max()
    assert measured / 3 < rounding_error(channels, m) < measured * 3


def test_an_algorithm_that_rounds_worse_than_allowed_is_no_alternative() -> None:
    assert accurate(SITE, 1e-4) == ["direct", "winograd4"]
    # The smaller tile is slower, but rounds less.
    assert accurate(SITE, 1e-6) == ["direct", "winograd2"]
    assert accurate(SITE, 1e-8) == ["direct"]
    # A problem where both are worth measuring: the smaller tile rounds better.
    both = ConvProblem(1, 256, 256, 14, 14)
    assert accurate(both, 1e-4) == ["direct", "winograd2", "winograd4"]
    assert accurate(both, 2e-6) == ["direct", "winograd2"]


def test_short_floats_have_the_direct_algorithm_alone() -> None:
    for dtype, problems in ((np.float32, 1), (np.float16, 0)):
        node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        graph = helper.make_graph(
            [node],
            "convolution",
            [helper.make_tensor_value_info("x", kind, [1, 16, 16, 16])],
            [helper.make_tensor_value_info("y", kind, [1, 16, 16, 16])],
            [numpy_helper.from_array(np.ones((16, 16, 3, 3), dtype), "w")],
        )
        opsets = [helper.make_opsetid("", 17)]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        module = OnnxModel("convolution", "digest", 0, [], proto).to_relax()
        assert len(convert_layout(module, "NCHWc", 8).problems) == problems


def test_a_choice_is_what_is_built_and_only_at_its_site(imported: Callable[..., Any]) -> None:
    module = imported(
        nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)),
        [torch.zeros(1, 16, 16, 16)],
    )
    first, second = ConvProblem(1, 16, 16, 16, 16), ConvProblem(1, 16, 32, 16, 16)
    direct = convert_layout(module, "NCHWc", 8)
    assert direct.problems == {first, second}
    chosen = convert_layout(module, "NCHWc", 8, {second: "winograd4"})
    assert chosen.problems == {first, second}
    assert _names(direct.module) == {"blocked_convolution", "blocked_convolution1"}
    assert _names(chosen.module) == {"blocked_convolution", "winograd4_conv2d_blocked"}


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.Conv2d(16, 16, 3, dilation=2, padding=2),
        nn.Conv2d(16, 16, 3, groups=2, padding=1),
        nn.Conv2d(16, 16, 3, groups=16, padding=1),
        nn.Conv2d(16, 16, 5, padding=2),
        nn.Conv2d(16, 16, 1),
        nn.Conv2d(8, 16, 3, padding=1),
    ],
)
def test_what_winograd_cannot_do_or_does_not_pay_has_no_site(
    layer: nn.Conv2d, imported: Callable[..., Any]
) -> None:
    module = imported(layer, [torch.zeros(1, layer.in_channels, 16, 16)])
    assert convert_layout(module, "NCHWc", 8).problems == frozenset()


def _names(module: Any) -> set[str]:
    return {
        variable.name_hint
        for variable, _ in module.functions_items()
        if "convolution" in variable.name_hint or "conv2d" in variable.name_hint
    }


def test_the_epilogue_is_fused_into_the_kernel(imported: Callable[..., Any]) -> None:
    from tunekit.graph.prepare import prepare
    from tunekit.graph.tasks import extract_tasks
    from tunekit.machine.target import resolve_target

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(16, 16, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(x)
            return torch.relu(self.conv(x) + x)

    target = resolve_target("native")
    module = imported(Residual(), [torch.zeros(1, 16, 16, 16)])
    problem = ConvProblem(1, 16, 16, 16, 16)
    graph = prepare(module, target, "NCHWc", choice={problem: "winograd4"})
    tasks = {task.name: task for task in extract_tasks(graph, target)}
    [fused] = [name for name in tasks if "winograd" in name]
    assert fused.count("add") == 2
    assert "relu" in fused
    assert tasks[fused].implementation == Implementation(problem, "winograd4")


def test_weights_are_transformed_in_double_precision() -> None:
    weights = np.random.default_rng(0).standard_normal((16, 8, 3, 3)).astype("float32")
    packed = transform_weights(weights, 2, in_block=4, out_block=8)
    assert packed.shape == (16, 2, 2, 4, 8)
    assert packed.dtype == np.float32
    g = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    expected = g @ weights[11, 6].astype("float64") @ g.T
    assert np.array_equal(packed[:, 1, 1, 2, 3].reshape(4, 4), expected.astype("float32"))


def test_tiles_cover_the_output() -> None:
    assert (tiling(14, 15, 4).rows, tiling(14, 15, 4).columns) == (4, 4)
    assert tiling(16, 16, 4).points == 36


def test_alternatives_leave_out_what_cannot_win() -> None:
    assert accurate(SITE, math.inf) == ["direct", "winograd4"]
    # Four multiplications in ten are for places outside of a 7x7 image.
    assert "winograd4" not in alternatives(ConvProblem(1, 64, 64, 9, 9))
    # More weights than a cache holds, for few pixels and for many.
    assert alternatives(ConvProblem(1, 512, 512, 7, 7)) == ("direct",)
    assert alternatives(ConvProblem(1, 512, 512, 28, 28)) == ("direct", "winograd2", "winograd4")
    assert "winograd4" in alternatives(ConvProblem(16, 512, 512, 8, 8))
    assert alternatives(ConvProblem(1, 8, 64, 56, 56)) == ("direct",)


def test_a_place_survives_in_the_workload_that_computes_it(imported: Callable[..., Any]) -> None:
    import tvm
    from tvm import te

    from tunekit.graph.kernels.convolution import ConvolutionShape, blocked_convolution

    data = te.placeholder((1, 8, 56, 56, 8), name="data")
    weights = te.placeholder((8, 8, 3, 3, 8, 8), name="weights")
    shape = ConvolutionShape((1, 1), (1, 1, 1, 1), (1, 1), 1)
    place = Implementation(SITE, "direct")
    for note, expected in ((annotate(place), place), (None, None)):
        result = blocked_convolution(data, weights, shape, "float32", note)
        function = te.create_prim_func([data, weights, result])
        assert implementation_of(tvm.IRModule({"main": function})) == expected


def test_the_faster_algorithm_of_a_site_is_chosen_by_all_of_its_kernels() -> None:
    tasks = [
        Task("direct a", 2, Implementation(SITE, "direct")),
        Task("direct b", 1, Implementation(SITE, "direct")),
        Task("winograd a", 2, Implementation(SITE, "winograd4")),
        Task("winograd b", 1, Implementation(SITE, "winograd4")),
        Task("elsewhere", 1, None),
    ]
    seconds = {"direct a": 2.0, "direct b": 3.0, "winograd a": 1.0, "winograd b": 4.0}
    assert choose(tasks, seconds.get) == {SITE: "winograd4"}
    assert choose(tasks, {**seconds, "winograd b": 6.0}.get) == {SITE: "direct"}
    # One kernel of it was never measured: it cannot be known to be faster.
    del seconds["winograd b"]
    assert choose(tasks, seconds.get) == {SITE: "direct"}


def test_where_nothing_was_measured_what_multiplies_least_is_chosen() -> None:
    few_places = ConvProblem(1, 64, 64, 6, 6)
    tasks = [
        Task(f"{algorithm} {problem}", 1, Implementation(problem, algorithm))
        for problem in (SITE, few_places)
        for algorithm in alternatives(problem)
    ]
    # Tiles of 4 times 4 places would compute 8 times 8 of them.
    expected = {SITE: "winograd4", few_places: "winograd2"}
    assert choose(tasks, {}.get) == choose_unmeasured(tasks) == expected
    assert choose_direct(tasks) == {SITE: "direct", few_places: "direct"}
    measured_only = {f"direct {SITE}": 1.0}
    assert choose(tasks, measured_only.get) == {**expected, SITE: "direct"}
