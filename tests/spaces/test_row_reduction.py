"""Softmax, layer norm and other reductions of rows: every candidate computes the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from family_kernels import (
    assert_all_compute_the_same,
    assert_every_target_compiles,
    default,
    kernel,
    run_unpacked,
)
from fused_convolutions import random_arguments
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.spaces.row_reduction import find_rows

FAMILY = "rows"


def softmax(*shape: int) -> Any:
    from tvm import te, topi

    x = te.placeholder(shape, name="x")
    return kernel([x, topi.nn.fast_softmax(x, axis=len(shape) - 1)])


def layer_norm(*shape: int) -> Any:
    from tvm import te, topi

    x = te.placeholder(shape, name="x")
    scale, shift = (te.placeholder(shape[-1:], name=name) for name in ("scale", "shift"))
    return kernel([x, scale, shift, topi.nn.layer_norm(x, scale, shift, [len(shape) - 1], 1e-6)])


def plain_mean(*shape: int) -> Any:
    """Over height and width of a tensor whose channels are not blocked."""
    from tvm import te, topi

    x = te.placeholder(shape, name="x")
    return kernel([x, topi.divide(topi.sum(x, axis=[2, 3], keepdims=True), 49.0)])


def adaptive_mean(*shape: int) -> Any:
    from tvm import te, topi

    x = te.placeholder(shape, name="x")
    return kernel([x, topi.nn.adaptive_pool(x, (1, 1), "avg")])


def maximum(*shape: int) -> Any:
    from tvm import te, topi

    x = te.placeholder(shape, name="x")
    return kernel([x, topi.max(x, axis=len(shape) - 1)])


KERNELS: dict[str, tuple[Callable[..., Any], int]] = {
    "softmax": (softmax, 3),
    "layer norm": (layer_norm, 3),
    "plain mean": (plain_mean, 4),
    "adaptive mean": (adaptive_mean, 4),
    "maximum": (maximum, 2),
}


@st.composite
def kernels(draw: st.DrawFn) -> Any:
    make, axes = KERNELS[draw(st.sampled_from(sorted(KERNELS)))]
    sizes = [draw(st.integers(1, 5)) for _ in range(axes - 1)]
    return make(*sizes, draw(st.sampled_from([1, 3, 8, 16, 17, 40, 197])))


@given(module=kernels(), seed=st.integers(1, 1000))
@settings(max_examples=4)
def test_every_variant_computes_the_same(module: Any, seed: int) -> None:
    assert_all_compute_the_same(module, seed, FAMILY)


@pytest.mark.parametrize("name", KERNELS)
def test_rows_of_a_length_that_no_vector_divides_are_right(name: str) -> None:
    make, axes = KERNELS[name]
    assert_all_compute_the_same(make(*[2] * (axes - 1), 197), 3, FAMILY)


def test_an_exponential_is_computed_once_for_each_element() -> None:
    module = softmax(4, 64)
    made = default(module, FAMILY).mod
    assert str(made.script()).count("T_fast_exp") > 0
    result = run_unpacked(made, random_arguments(module))
    assert np.allclose(result.sum(-1), 1, rtol=1e-5)


def test_rows_are_told_by_their_last_axes() -> None:
    from tvm import te, topi

    found = find_rows(layer_norm(1, 7, 48))
    assert found is not None
    assert (len(found.blocks), found.shape, found.columns) == (2, (1, 7), 48)
    x = te.placeholder((4, 16, 8), name="x")
    assert find_rows(kernel([x, topi.sum(x, axis=1)])) is None
    assert find_rows(kernel([x, topi.nn.relu(x)])) is None


@pytest.mark.parametrize("name", ["avx512", "neon"])
def test_every_target_compiles_rows(name: str) -> None:
    for make in (softmax, layer_norm):
        assert_every_target_compiles(make(2, 3, 50), name, FAMILY, most=1)
