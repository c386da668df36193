"""How detections are cut into pieces that a head computes: of eight, and of two for the rest.

A head whose rows were as many as there may be detections would compute all of them for a few.
`chunks.h` is the same in C.
"""

from __future__ import annotations

EIGHT, TWO = 8, 2
_MOST_TWOS = 3


def chunk_rows(limit: int) -> tuple[int, ...]:
    """The rows of each piece that detections up to a limit may need."""
    return (EIGHT,) * _eights_at_most(limit) + (TWO,) * min(_MOST_TWOS, -(-limit // TWO))


def chunk_slots(limit: int, count: int, chunk: int) -> range:
    """The detections that a piece holds; none where it is not needed.

    Args:
        limit: how many detections there may be.
        count: how many there are.
        chunk: the number of the piece.
    """
    eights, twos = _needed(count)
    small = chunk - _eights_at_most(limit)
    if small < 0:
        start, rows = EIGHT * chunk, EIGHT if chunk < eights else 0
    else:
        start, rows = EIGHT * eights + TWO * small, TWO if small < twos else 0
    return range(min(start, count), min(start + rows, count))


def chunk_chance(limit: int, expected: float, chunk: int) -> float:
    """In which share of the pictures a piece is needed.

    The count is taken to fall by the same factor from one number to the next.

    Args:
        limit: how many detections there may be.
        expected: how many there are on average.
        chunk: the number of the piece.
    """
    fall = expected / (1 + expected)
    weights = [fall**count for count in range(limit + 1)]
    needed = [
        weight for count, weight in enumerate(weights) if len(chunk_slots(limit, count, chunk))
    ]
    return sum(needed) / sum(weights)


def _needed(count: int) -> tuple[int, int]:
    """How many pieces of eight and of two; at most one place of them stays empty."""
    rest = count % EIGHT
    if rest > TWO * _MOST_TWOS:
        return count // EIGHT + 1, 0
    return count // EIGHT, -(-rest // TWO)


def _eights_at_most(limit: int) -> int:
    return (limit + 1) // EIGHT
