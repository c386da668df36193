"""The tiles that are offered: within the register file, and the most promising first."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.search.spaces.register_tile import Anchor, tiles
from tunekit.target import resolve_target

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
    depthwise=st.booleans(),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_tiles_divide_the_output_and_stay_within_the_registers(
    target: str, registers: int, spatial: tuple[int, ...], lanes: int, depthwise: bool
) -> None:
    resolved = resolve_target(target, measured_elsewhere=True)
    batch, blocks, height, width, _ = spatial
    reduction = (3, 3) if depthwise else (2, 3, 3, 8)
    anchor = Anchor("conv", (batch, blocks, height, width, lanes), reduction, depthwise)
    found = tiles(anchor, resolved)
    assert found
    assert len(set(found)) == len(found) <= 48
    vectors_per_place = max(1, lanes // (resolved.vector_bits // 32))
    for channel, row, column in found:
        assert (blocks % channel, height % row, width % column) == (0, 0, 0)
        # One weight, one value and one spare beside the accumulators.
        assert channel * row * column * vectors_per_place <= registers - 3
        assert channel == 1 or not depthwise
    # The best expected first: cycles per multiply-add never fall along the list.
    costs = [_cycles(tile, depthwise) for tile in found]
    assert costs == sorted(costs)


def _cycles(tile: tuple[int, int, int], depthwise: bool) -> float:
    """Cycles of a multiply-add with two loads and two multiply-adds a cycle and a latency of 4."""
    channel, row, column = tile
    accumulators = channel * row * column
    loads = accumulators + channel if depthwise else row * column + channel
    return max(loads / 2, accumulators / 2, 4.0) / accumulators
