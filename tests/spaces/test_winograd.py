"""Winograd's space: every candidate computes the same, and untuned kernels get decent schedules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fused_convolutions import (
    ELSEWHERE,
    EPILOGUES,
    NATIVE,
    Kernel,
    compiled,
    random_arguments,
    run,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.machine.target import ResolvedTarget
from tunekit.spaces.default_schedule import default_schedule
from tunekit.spaces.registry import find_family
from tunekit.spaces.winograd import (
    WinogradAnchor,
    find_winograd,
    strips,
    winograd_designs,
)


def _anchor(module: Any) -> WinogradAnchor:
    anchor = find_winograd(module)
    assert anchor is not None
    return anchor


def _variants(module: Any, target: ResolvedTarget, seed: int) -> list[Any]:
    from tvm.s_tir import Schedule

    return winograd_designs(Schedule(module, seed=seed), _anchor(module), target)


@st.composite
def kernels(draw: st.DrawFn) -> Kernel:
    pad = st.integers(0, 1)
    return Kernel(
        kind=draw(st.sampled_from(["winograd2", "winograd4"])),
        batch=draw(st.sampled_from([1, 1, 2])),
        in_blocks=draw(st.integers(1, 3)),
        out_blocks=draw(st.integers(1, 6)),
        in_block=draw(st.sampled_from([4, 8, 16])),
        out_block=draw(st.sampled_from([4, 8, 16])),
        size=(draw(st.integers(3, 18)), draw(st.integers(3, 18))),
        padding=(draw(pad), draw(pad), draw(pad), draw(pad)),
        epilogue=draw(st.sampled_from([e for e in EPILOGUES if "tail" not in e])),
    )


@given(kernel=kernels(), seed=st.integers(1, 1000))
@settings(max_examples=4, deadline=None, derandomize=True)
def test_every_variant_computes_what_the_kernel_computes(kernel: Kernel, seed: int) -> None:
    module = kernel.module()
    arguments = random_arguments(module)
    expected = run(module, arguments)
    scale = np.abs(expected).max()
    assert scale > 0
    variants = _variants(module, NATIVE, seed)
    assert variants
    for variant in variants:
        assert np.abs(run(variant.mod, arguments) - expected).max() < 1e-4 * scale


@pytest.mark.parametrize("kind", ["winograd2", "winograd4"])
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_what_a_fused_convolution_looks_like_fits(kind: str, epilogue: str) -> None:
    module = Kernel(kind, size=(8, 8), epilogue=epilogue).module()
    found = find_family(module, NATIVE)
    assert found is not None
    assert found[0] == "winograd"


def test_its_products_are_told_from_other_convolutions() -> None:
    anchor = _anchor(Kernel("winograd4", batch=2, size=(14, 9), epilogue="residual").module())
    assert (anchor.m, anchor.points, anchor.rows, anchor.columns) == (4, 36, 4, 3)
    assert anchor.output == (2, 3, 14, 9, 8)
    for kind in ("dense", "grouped", "depthwise"):
        assert find_winograd(Kernel(kind).module()) is None


@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    blocks=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    points=st.sampled_from([16, 36]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_strips_divide_the_image_and_tiles_stay_within_the_registers(
    rows: int, columns: int, blocks: tuple[int, int], points: int
) -> None:
    m = {16: 2, 36: 4}[points]
    out_blocks, in_blocks = blocks
    anchor = WinogradAnchor(
        *("product", points, out_blocks, rows * columns, 8, in_blocks, 8),
        output=(1, out_blocks, rows * m, columns * m, 8),
        rows=rows,
    )
    for target, registers in ((ELSEWHERE["avx2"], 16), (ELSEWHERE["avx512"], 32)):
        for by_strips in (True, False):
            for strip in strips(anchor, target, by_strips=by_strips):
                assert rows % strip.rows == 0
                assert strip.tiles <= strip.rows * columns
                assert out_blocks % strip.blocks == 0
                # Beside the sums the tile's places and a vector of weights.
                assert strip.blocks * strip.tiles + strip.tiles + 1 <= registers
        # However small an image is, there is a candidate.
        assert strips(anchor, target, by_strips=False)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_every_target_compiles_both_tiles(name: str) -> None:
    target = ELSEWHERE[name]
    block = target.vector_bits // 32
    for kind in ("winograd2", "winograd4"):
        module = Kernel(
            kind, in_block=block, out_block=block, size=(16, 16), epilogue="residual"
        ).module()
        compiled(_variants(module, target, 1)[0].mod, target)


@pytest.mark.parametrize("kind", ["dense", "grouped", "depthwise", "winograd4"])
def test_a_default_schedule_computes_the_same_and_is_the_same_each_time(kind: str) -> None:
    module = Kernel(kind, size=(12, 8), epilogue="bias and relu").module()
    arguments = random_arguments(module)
    expected = run(module, arguments)
    first, second = (default_schedule(module, NATIVE) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.mod.script() == second.mod.script()
    actual = run(first.mod, arguments, NATIVE)
    assert np.abs(actual - expected).max() < 1e-4 * np.abs(expected).max()
    # Lanes and threads, not the loops that it began with.
    assert "T.vectorized" in first.mod.script()
    assert "T.parallel" in first.mod.script()


def test_kernels_without_a_space_of_their_own_have_a_default_too() -> None:
    import tvm
    from tvm import te, topi

    x = te.placeholder((16, 8, 32), name="x")
    twice = te.create_prim_func([x, topi.max(topi.sum(topi.nn.relu(x), axis=0), axis=0)])
    module = tvm.IRModule({"main": twice.with_attr("global_symbol", "main")})
    assert find_family(module, NATIVE) is None
    arguments = random_arguments(module)
    schedule = default_schedule(module, NATIVE)
    assert schedule is not None
    assert "T.parallel" in schedule.mod.script()
    assert np.allclose(run(schedule.mod, arguments), run(module, arguments), rtol=1e-5)
