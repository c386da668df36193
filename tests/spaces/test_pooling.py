"""Poolings and means over positions: which kernels they are, and that every candidate is right."""

from __future__ import annotations

from typing import Any

import pytest
from family_kernels import (
    assert_all_compute_the_same,
    assert_every_target_compiles,
    default,
    kernel,
)
from fused_convolutions import ELSEWHERE, NATIVE, compiled
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.spaces.pooling import find_pooling

FAMILY = "pooling"


def window(
    *,
    batch: int = 1,
    blocks: int = 2,
    size: tuple[int, int] = (9, 7),
    block: int = 8,
    kernel_size: tuple[int, int] = (3, 3),
    stride: int = 2,
    padding: tuple[int, int, int, int] = (1, 1, 1, 1),
    kind: str = "max",
    before: bool = False,
    after: bool = False,
) -> Any:
    """A windowed pooling on blocked channels, as the layout conversion leaves it."""
    from tvm import te, topi

    x = te.placeholder((batch, blocks, *size, block), name="x")
    result = topi.nn.pool2d(
        topi.nn.relu(x) if before else x,
        list(kernel_size),
        [stride, stride],
        [1, 1],
        list(padding),
        kind,
        layout=f"NCHW{block}c",
        count_include_pad=False,
    )
    return kernel([x, topi.tanh(result) if after else result])


def mean(shape: tuple[int, ...], axes: tuple[int, ...], *, after: bool = False) -> Any:
    """A mean over some axes, which stay with an extent of one."""
    from tvm import te, topi

    x = te.placeholder(shape, name="x")
    result = topi.sum(topi.multiply(x, 0.25), axis=list(axes), keepdims=True)
    return kernel([x, topi.nn.relu(result) if after else result])


@st.composite
def windows(draw: st.DrawFn) -> Any:
    extents = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    pad = st.integers(0, 1)
    return window(
        batch=draw(st.sampled_from([1, 2])),
        blocks=draw(st.integers(1, 3)),
        size=(draw(st.integers(3, 14)), draw(st.integers(3, 14))),
        block=draw(st.sampled_from([4, 8, 12, 16, 32])),
        kernel_size=extents,
        stride=draw(st.integers(1, 3)),
        padding=tuple(draw(pad) if extents[at % 2] > 1 else 0 for at in range(4)),  # type: ignore[arg-type]
        kind=draw(st.sampled_from(["max", "avg"])),
        before=draw(st.booleans()),
        after=draw(st.booleans()),
    )


@given(module=windows(), seed=st.integers(1, 1000))
@settings(max_examples=3)
def test_every_variant_of_a_window_computes_the_same(module: Any, seed: int) -> None:
    assert_all_compute_the_same(module, seed, FAMILY)


@given(
    shape=st.tuples(
        st.sampled_from([1, 2]),
        st.integers(1, 6),
        st.integers(1, 9),
        st.integers(1, 9),
        st.sampled_from([4, 8, 16]),
    ),
    after=st.booleans(),
    seed=st.integers(1, 1000),
)
@settings(max_examples=2)
def test_every_variant_of_a_mean_over_positions_computes_the_same(
    shape: tuple[int, ...], after: bool, seed: int
) -> None:
    assert_all_compute_the_same(mean(shape, (2, 3), after=after), seed, FAMILY)


def test_channels_last_is_pooled_too() -> None:
    assert_all_compute_the_same(mean((2, 5, 3, 40), (1, 2)), 1, FAMILY)
    assert_all_compute_the_same(mean((6, 24), (0,), after=True), 1, FAMILY)


def test_windows_and_means_are_told_apart_by_what_they_read() -> None:
    overlapping = find_pooling(window())
    assert overlapping is not None
    assert (overlapping.spatial, overlapping.window) == ((1, 2, 5, 4, 8), (3, 3))
    assert overlapping.overlapping
    whole = find_pooling(mean((1, 6, 7, 7, 8), (2, 3)))
    assert whole is not None
    assert (whole.spatial, whole.window, whole.overlapping) == ((1, 6, 1, 1, 8), (7, 7), False)
    # Its last axis is reduced: no vectors of channels.
    assert find_pooling(mean((1, 16, 7, 7), (2, 3))) is None


def test_padding_is_computed_in_three_places() -> None:
    from tvm.s_tir import Schedule

    from tunekit.spaces.registry import find_family

    found = find_family(window(size=(112, 112), blocks=8), NATIVE)
    assert found is not None
    made = found[1](Schedule(window(size=(112, 112), blocks=8)))
    assert len({variant.mod.script() for variant in made}) == len(made) == 3


@pytest.mark.parametrize("name", ["avx512", "neon"])
def test_every_target_compiles_poolings(name: str) -> None:
    block = ELSEWHERE[name].vector_bits // 32
    assert_every_target_compiles(window(block=block, after=True), name, FAMILY)
    assert_every_target_compiles(mean((1, 4, 7, 7, block), (2, 3)), name, FAMILY, most=1)


def test_a_window_becomes_vector_maxima() -> None:
    assembly = compiled(default(window(), FAMILY).mod, ELSEWHERE["avx2"]).inspect_source("asm")
    assert str(assembly).count("vmaxps\t") + str(assembly).count("vcmp") >= 4
