"""Attention: every candidate computes the same, in rows and panels that do not divide."""

from __future__ import annotations

from typing import Any

import pytest
from family_kernels import assert_all_compute_the_same, assert_every_target_compiles, kernel

from tunekit.graph.kernels.attention import AttentionShape, Readers, attention, rows_at_once
from tunekit.graph.operation import describe
from tunekit.spaces.attention import find_attention

FAMILY = "attention"


def attending(
    heads: int, queries: int, keys: int, size: int, values: int, *, joined: bool = False
) -> Any:
    from tvm import te, tirx

    q, k, v, bias = (
        te.placeholder(shape, name=name)
        for name, shape in (
            ("q", (2, queries, heads, size)),
            ("k", (2, heads, keys, size)),
            ("v", (2, heads, keys, values)),
            ("bias", (queries, keys)),
        )
    )
    readers = Readers(
        query=lambda i: q[i[0], i[2], i[1], i[3]],
        key=lambda i: k[tuple(i)],
        value=lambda i: v[tuple(i)],
        scores=lambda score, i: score + bias[i[-2], i[-1]],
        allowed=lambda i: tirx.any(bias[i[-2], i[-1]] > -2.0, i[-1] == 0),
        unseeing=0.0,
    )
    shape = AttentionShape((2, heads), queries, keys, size, values)
    return kernel([q, k, v, bias, attention(shape, readers, 8, size**-0.5, joined=joined)])


@pytest.mark.parametrize(
    ("sizes", "joined"),
    [((3, 13, 21, 12, 20), False), ((2, 48, 32, 16, 16), True), ((1, 30, 7, 8, 4), True)],
)
def test_every_variant_computes_the_same(sizes: tuple[int, ...], joined: bool) -> None:
    assert_all_compute_the_same(attending(*sizes, joined=joined), 3, FAMILY)


def test_it_is_told_by_its_blocks() -> None:
    found = find_attention(attending(3, 13, 21, 12, 20))
    assert found is not None
    assert (found.rows, found.value_size, found.lanes) == (6, 20, 16)


def test_rows_are_few_where_keys_are_many() -> None:
    def rows(queries: int, keys: int) -> int:
        return rows_at_once(AttentionShape((1, 12), queries, keys, 64, 64), 8)

    assert rows(196, 196) == 12
    assert rows(4096, 4096) == 6
    assert rows(24, 64) == 24


def test_it_is_described_as_attention() -> None:
    assert describe(attending(3, 13, 21, 12, 20)) == "attention 6 of 13x20 over 21"


@pytest.mark.parametrize("name", ["avx512", "neon"])
def test_every_target_compiles_attention(name: str) -> None:
    assert_every_target_compiles(attending(3, 13, 21, 12, 20), name, FAMILY, most=1)
