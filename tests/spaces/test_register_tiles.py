"""The tiles that are offered: within the register file, and the most promising first."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.machine.target import resolve_target
from tunekit.spaces.convolution import variants
from tunekit.spaces.register_tiles import Anchor, cost, tiles

ARM = '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "mattr": ["+neon"]}'


@pytest.mark.parametrize(
    ("target", "registers"),
    [
        ("llvm -mcpu=skylake-avx512", 32),
        ("llvm -mcpu=x86-64-v3", 16),
        ("llvm -mcpu=x86-64-v2", 16),
        (ARM, 32),
    ],
)
@given(
    spatial=st.tuples(
        st.just(1), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60), st.just(8)
    ),
    lanes=st.sampled_from([4, 8, 16]),
    kind=st.sampled_from(["dense", "depthwise", "pointwise"]),
    inside=st.booleans(),
    divide=st.booleans(),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_tiles_stay_within_the_registers(
    target: str,
    registers: int,
    spatial: tuple[int, ...],
    lanes: int,
    kind: str,
    inside: bool,
    divide: bool,
) -> None:
    resolved = resolve_target(target, measured_elsewhere=True)
    batch, blocks, height, width, _ = spatial
    reduction = {"dense": (2, 3, 3, 8), "depthwise": (3, 3), "pointwise": (4, 1, 1, 8)}[kind]
    anchor = Anchor(
        "conv",
        (batch, blocks, height, width, lanes),
        reduction,
        depthwise=kind == "depthwise",
        pointwise=kind == "pointwise",
    )
    found = tiles(anchor, resolved, 20, channels_inside=inside, divide_channels=divide)
    assert found
    assert len(set(found)) == len(found) <= 20
    vectors = max(1, lanes // (resolved.vector_bits // 32))
    for channels, rows, columns in found:
        assert channels * rows * columns * vectors + 2 <= registers or found == [(1, 1, 1)]
        assert channels == 1 or kind != "depthwise"
        assert blocks % channels == 0 or not divide
        assert channels <= blocks
        assert rows * columns <= height * width
    # The best expected first.
    costs = [cost(anchor, resolved, tile) for tile in found]
    assert costs == sorted(costs)


def test_what_a_tile_leaves_over_counts() -> None:
    """Of 49 places seven times seven leave none over, and sixteen times three one."""
    resolved = resolve_target("llvm -mcpu=x86-64-v3", measured_elsewhere=True)
    small = Anchor("conv", (1, 4, 7, 7, 8), (64, 1, 1, 8), depthwise=False, pointwise=True)
    large = Anchor("conv", (1, 4, 56, 56, 8), (64, 1, 1, 8), depthwise=False, pointwise=True)
    assert cost(small, resolved, (4, 1, 3)) > cost(large, resolved, (4, 1, 3))
    assert cost(large, resolved, (4, 1, 3)) < cost(large, resolved, (1, 1, 14))


def test_the_default_tile_of_common_convolutions_fills_the_registers() -> None:
    for target, registers in (("llvm -mcpu=skylake-avx512", 32), ("llvm -mcpu=x86-64-v3", 16)):
        resolved = resolve_target(target, measured_elsewhere=True)
        anchor = Anchor("conv", (1, 16, 28, 28, 8), (16, 1, 1, 8), depthwise=False, pointwise=True)
        (channels, rows, columns), *_ = tiles(
            anchor, resolved, 20, channels_inside=False, divide_channels=True
        )
        assert channels * rows * columns >= registers // 2
        assert channels > 1
        assert columns > 1


@pytest.mark.parametrize(
    ("channels", "size", "order"),
    # Of ResNet-50 on pictures of 224x224, and of 800x800.
    [((256, 1024), 14, "channels"), ((256, 64), 200, "pixels"), ((512, 128), 100, "pixels")],
)
def test_an_input_that_no_cache_holds_is_fetched_once(
    channels: tuple[int, int], size: int, order: str
) -> None:
    inputs, outputs = channels
    anchor = Anchor(
        "conv",
        (1, outputs // 8, size, size, 8),
        (inputs // 8, 1, 1, 8),
        depthwise=False,
        pointwise=True,
    )
    target = resolve_target("llvm -mcpu=x86-64-v3 -num-cores=2", measured_elsewhere=True)
    assert variants(anchor, target, padded=False)[0].order == order
