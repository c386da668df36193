"""Kernels that only move elements: every candidate computes the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from family_kernels import (
    assert_all_compute_the_same,
    assert_every_target_compiles,
    default,
    kernel,
    variants,
)
from fused_convolutions import NATIVE
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.spaces.elementwise import find_elementwise

FAMILY = "elementwise"


def chain(*shape: int) -> Any:
    """A broadcast, an addition, a transposition."""
    from tvm import te, topi

    x = te.placeholder(shape, name="x")
    bias = te.placeholder((shape[-1],), name="bias")
    order = [len(shape) - 1, *range(len(shape) - 1)]
    return kernel([x, bias, topi.transpose(topi.tanh(topi.add(x, bias)), order)])


def moves(name: str) -> Any:
    from tvm import te, topi

    x = te.placeholder((1, 3, 10, 12), name="x")
    y = te.placeholder((1, 2, 10, 12), name="y")
    if name == "concatenation":
        return kernel([x, y, topi.nn.relu(topi.concatenate([x, y], axis=1))])
    if name == "blocked layout":
        from tunekit.graph.kernels.convolution import from_blocked

        blocked = te.placeholder((1, 2, 5, 3, 8), name="blocked")
        return kernel([blocked, from_blocked(topi.nn.relu(blocked))])
    if name == "blocked concatenation":
        parts = [te.placeholder((1, blocks, 4, 3, 8), name=f"part{blocks}") for blocks in (3, 1, 2)]
        joined = topi.concatenate(parts, axis=1)
        scale = te.placeholder((1, 6, 1, 1, 8), name="scale")
        return kernel([*parts, scale, topi.nn.relu(topi.multiply(joined, scale))])
    if name == "slice":
        return kernel([x, topi.strided_slice(x, [0, 1, 2, 0], [1, 3, 9, 12], [1, 1, 2, 1])])
    if name == "resize":
        resized = topi.image.resize2d(
            x, [0.0] * 4, [20, 18], "NCHW", "linear", "half_pixel", rounding_method="round"
        )
        return kernel([x, resized])
    return kernel([x, topi.nn.pad(x, [0, 0, 1, 2], [0, 0, 1, 2])])


@given(
    shape=st.lists(st.sampled_from([1, 3, 8, 16, 17, 30]), min_size=1, max_size=4),
    seed=st.integers(1, 1000),
)
@settings(max_examples=3)
def test_every_variant_of_a_chain_computes_the_same(shape: list[int], seed: int) -> None:
    assert_all_compute_the_same(chain(*shape), seed, FAMILY)


@pytest.mark.parametrize(
    "name",
    ["concatenation", "blocked concatenation", "blocked layout", "slice", "resize", "padding"],
)
def test_every_variant_of_a_move_computes_the_same(name: str) -> None:
    assert_all_compute_the_same(moves(name), 1, FAMILY)


def test_a_concatenation_is_cut_where_its_tensors_meet(
    script_after: Callable[[str, Any], str],
) -> None:
    module = moves("blocked concatenation")
    for cut, scheduled in ((True, default(module, FAMILY).mod), (False, module)):
        assert ("if_then_else" in script_after("tirx.CommonSubexprElim", scheduled)) is not cut


def test_small_kernels_start_no_threads_unless_that_is_drawn_and_large_ones_always_do() -> None:
    small = chain(4, 16)
    assert "T.parallel" not in default(small, FAMILY).mod.script()
    parallel = ["T.parallel" in v.mod.script() for v in variants(small, NATIVE, 1, FAMILY)]
    assert set(parallel) == {True, False}
    large = variants(chain(80, 64, 64), NATIVE, 1, FAMILY)
    assert all("T.parallel" in variant.mod.script() for variant in large)


def test_kernels_that_reduce_or_have_two_results_are_something_else() -> None:
    from tvm import te, topi

    x = te.placeholder((4, 8), name="x")
    assert find_elementwise(kernel([x, topi.sum(x, axis=1)])) is None
    assert find_elementwise(kernel([x, topi.nn.relu(x), topi.tanh(x)])) is None
    scalar = te.placeholder((), name="scalar")
    assert find_elementwise(kernel([scalar, topi.exp(scalar)])) is None


@pytest.mark.parametrize("name", ["avx512", "neon"])
def test_every_target_compiles_chains(name: str) -> None:
    assert_every_target_compiles(chain(3, 40), name, FAMILY, most=2)


@pytest.mark.parametrize("columns", [24, 19])
def test_activations_in_a_row_are_kept_near_and_not_multiplied(columns: int) -> None:
    from tvm import te, topi

    x = y = te.placeholder((6, columns), name="x")
    for _ in range(5):
        y = topi.multiply(topi.fast_tanh(y), y)
    module = kernel([x, y])
    assert_all_compute_the_same(module, 5, FAMILY)
    # Inlined all the way, the first step would be there a hundred thousand times.
    assert str(default(module, FAMILY).mod).count("v_ax0, v_ax1") < 10_000
