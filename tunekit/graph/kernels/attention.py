"""Scaled dot product attention as one kernel, whose scores stay in the caches.

A few rows of queries at a time: their scores against all keys, what is done to these (masks), the
softmax, and the sums of values, while those rows' scores are near. Keys are packed before, in
panels of a few vectors; what is left over in the last panel, and in the last rows, is computed on
copies of the last key and query and never read. Scores of a whole head, which would be written and
read five times from farther away, exist nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.graph.implementation import ATTENTION

if TYPE_CHECKING:
    from tvm import te

# Scores of the rows that are taken at once: what the second cache holds beside keys and values.
_SCORES_BYTES = 96 << 10
_ROWS = (24, 12, 6)
_VECTORS = 2
# What fetching keys and values from the second cache takes, in rows of arithmetic.
_FETCH_ROWS = 1.0

Indices = Sequence[Any]
Reader = Callable[[Indices], Any]


@dataclass(frozen=True)
class AttentionShape:
    """The extents of an attention.

    Attributes:
        batch: leading axes, heads included.
        queries: rows.
        keys: columns of the scores.
        size: of a query and of a key.
        value_size: of a value.
    """

    batch: tuple[int, ...]
    queries: int
    keys: int
    size: int
    value_size: int

    def __str__(self) -> str:
        return f"{self.heads} of {self.queries}x{self.value_size} over {self.keys}"

    @property
    def heads(self) -> int:
        """Of all batches together."""
        return math.prod(self.batch)

    def apart(self, head: Any) -> list[Any]:
        """The indices of the leading axes."""
        places = []
        for axis, extent in enumerate(self.batch):
            place = head // math.prod(self.batch[axis + 1 :])
            places.append(0 if extent == 1 else place % extent if axis else place)
        return places


@dataclass(frozen=True)
class Readers:
    """What an attention reads, each by its indices.

    Attributes:
        query: of (batch, query, place).
        key: of (batch, key, place).
        value: of (batch, key, place).
        scores: what becomes of a score, of its value and of (batch, query, key).
        allowed: whether a weight counts, of (batch, query, key); None where all do.
        unseeing: the result of a query all of whose scores are minus infinity.
    """

    query: Reader
    key: Reader
    value: Reader
    scores: Callable[[Any, Indices], Any]
    allowed: Reader | None
    unseeing: float


def attention(
    shape: AttentionShape, readers: Readers, lanes: int, factor: float, *, joined: bool = False
) -> te.Tensor:
    """The attention.

    Args:
        shape: its extents.
        readers: of its inputs, in float32.
        lanes: of a vector.
        factor: of the scores, before anything else is done to them.
        joined: of a batch of (images, heads), the heads lie beside each other in the result.

    Returns:
        (heads of all batches, queries, value size), or (images, queries, heads * value size).
    """
    from tvm import te, tirx, topi

    panel = _VECTORS * lanes
    rows = rows_at_once(shape, lanes)
    blocks, panels = -(-shape.queries // rows), -(-shape.keys // panel)
    heads, last_query, last_key = shape.heads, shape.queries - 1, shape.keys - 1
    exact = shape.keys % panel == 0

    def query_at(block: Any, row: Any) -> Any:
        place = block * rows + row
        return place if shape.queries % rows == 0 else tirx.min(place, last_query)

    def key_at(part: Any, lane: Any) -> Any:
        place = part * panel + lane
        return place if exact else tirx.min(place, last_key)

    scaled = te.compute(
        (heads, blocks, rows, shape.size),
        lambda g, o, i, d: (
            readers.query([*shape.apart(g), query_at(o, i), d]) * tirx.const(factor, "float32")
        ),
        name="attention_query",
    )
    packed = te.compute(
        (heads, panels, shape.size, panel),
        lambda g, p, d, j: readers.key([*shape.apart(g), key_at(p, j), d]),
        name="attention_keys",
    )
    place = te.reduce_axis((0, shape.size), name="d")
    products = te.compute(
        (heads, blocks, rows, panels, panel),
        lambda g, o, i, p, j: te.sum(scaled[g, o, i, place] * packed[g, p, place, j], axis=[place]),
        name="attention_scores",
    )
    masked = te.compute(
        products.shape,
        lambda g, o, i, p, j: readers.scores(
            products[g, o, i, p, j], [*shape.apart(g), query_at(o, i), key_at(p, j)]
        ),
        name="attention_masked",
    )
    largest = _reduced(masked, te.max, "max")
    shifted = te.compute(
        products.shape,
        lambda g, o, i, p, j: masked[g, o, i, p, j] - largest[g, o, i],
        name="attention_shifted",
    )
    powers = topi.fast_exp(shifted)
    if not exact:
        known = powers
        powers = te.compute(
            products.shape,
            lambda g, o, i, p, j: tirx.Select(
                p * panel + j < shape.keys, known[g, o, i, p, j], tirx.const(0, "float32")
            ),
            name="attention_exp",
        )
    total = _reduced(powers, te.sum, "sum")
    weights = powers
    if readers.allowed is not None:
        allowed = readers.allowed
        weights = te.compute(
            products.shape,
            lambda g, o, i, p, j: tirx.Select(
                allowed([*shape.apart(g), query_at(o, i), key_at(p, j)]),
                powers[g, o, i, p, j],
                tirx.const(0, "float32"),
            ),
            name="attention_weights",
        )
    key = te.reduce_axis((0, shape.keys), name="n")
    sums = te.compute(
        (heads, blocks, rows, shape.value_size),
        lambda g, o, i, d: te.sum(
            weights[g, o, i, key // panel, key % panel] * readers.value([*shape.apart(g), key, d]),
            axis=[key],
        ),
        name="attention_values",
    )

    def result(g: Any, m: Any, d: Any) -> Any:
        row = (g, m // rows, m % rows)
        # The largest score's power is 1, unless there is none but minus infinity.
        sees = total[row] > tirx.const(0.5, "float32")
        unseeing = tirx.const(readers.unseeing, "float32")
        return tirx.Select(sees, sums[(*row, d)] / total[row], unseeing)

    size, said = shape.value_size, {ATTENTION: str(shape)}
    if not joined:
        return te.compute((heads, shape.queries, size), result, name="attention", attrs=said)
    images, beside = shape.batch
    return te.compute(
        (images, shape.queries, beside * size),
        lambda n, m, c: result(n * beside + c // size, m, c % size),
        name="attention",
        attrs=said,
    )


def _reduced(scores: te.Tensor, reduce: Any, name: str) -> te.Tensor:
    """Of (heads, blocks, rows, panels, lanes) one number a row: first of each lane, as vectors."""
    from tvm import te

    *outer, panels, panel = [int(extent) for extent in scores.shape]
    part = te.reduce_axis((0, panels), name="p")
    lanes = te.compute(
        (*outer, panel),
        lambda g, o, i, j: reduce(scores[g, o, i, part, j], axis=[part]),
        name=f"attention_{name}_lanes",
    )
    lane = te.reduce_axis((0, panel), name="j")
    return te.compute(
        tuple(outer),
        lambda g, o, i: reduce(lanes[g, o, i, lane], axis=[lane]),
        name=f"attention_{name}",
    )


def rows_at_once(shape: AttentionShape, lanes: int) -> int:
    """Rows of queries whose scores are near at the same time."""
    fitting = [
        rows for rows in _ROWS if 4 * rows * -(-shape.keys // lanes) * lanes <= _SCORES_BYTES
    ]

    def cost(rows: int) -> float:
        # Few left over, and keys and values that are read for many rows.
        return -(-shape.queries // rows) * rows * (1 + _FETCH_ROWS / rows)

    return min(fitting or _ROWS[-1:], key=cost)
