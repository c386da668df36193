"""Buffers that live at the same time never share a byte, and little memory is wasted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.standalone.memory import ALIGNMENT, Lifetime, aligned, pack


@st.composite
def lifetimes(draw: st.DrawFn) -> Lifetime:
    first = draw(st.integers(-1, 12))
    return Lifetime(draw(st.integers(0, 5000)), first, draw(st.integers(first, 14)))


def _together(a: Lifetime, b: Lifetime) -> bool:
    return a.first <= b.last and b.first <= a.last


@settings(max_examples=50)
@given(st.lists(lifetimes(), max_size=25))
def test_what_lives_together_does_not_overlap(buffers: list[Lifetime]) -> None:
    packing = pack(buffers)
    places = list(zip(packing.offsets, buffers, strict=True))
    for index, (offset, buffer) in enumerate(places):
        assert offset % ALIGNMENT == 0
        assert offset + buffer.size <= packing.size
        for other_offset, other in places[:index]:
            if _together(buffer, other):
                # Each has a place of its own, also one without bytes.
                assert offset != other_offset
                assert offset + buffer.size <= other_offset or other_offset + other.size <= offset


@settings(max_examples=50)
@given(st.lists(lifetimes(), min_size=1, max_size=25))
def test_the_memory_is_no_more_than_all_and_no_less_than_the_fullest_step(
    buffers: list[Lifetime],
) -> None:
    size = pack(buffers).size
    steps = range(-1, 15)
    live = [
        sum(aligned(buffer.size) for buffer in buffers if buffer.first <= step <= buffer.last)
        for step in steps
    ]
    assert max(live) <= size <= sum(aligned(buffer.size) for buffer in buffers)


def test_buffers_that_follow_each_other_share_their_place() -> None:
    packing = pack([Lifetime(1000, 0, 1), Lifetime(1000, 1, 2), Lifetime(1000, 2, 3)])
    assert packing.offsets[0] == packing.offsets[2]
    assert packing.size == 2 * aligned(1000)
