"""Pictures in which there is something to find.

One scene of blobs and rectangles; each seed moves it around, mirrors it and adds noise. Boxes move
with it and statistics stay, so that a detector with random weights finds about as many objects in
each. (In unrelated random pictures it finds none, or as many as it may.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

_BLOBS = 12
_RECTANGLES = 25
_NOISE = 0.02


def scene(canvas: tuple[int, int], seed: int) -> Array:
    """A picture of [1, 3, height, width], from 0 to 1; the same seed gives the same one."""
    import numpy as np

    random = np.random.default_rng([seed, *canvas])
    picture = _still(canvas)
    height, width = canvas
    moved = (int(random.integers(height)), int(random.integers(width)))
    picture = np.roll(picture, moved, axis=(1, 2))
    if random.integers(2):
        picture = picture[:, :, ::-1]
    picture = picture + _NOISE * random.standard_normal(picture.shape)
    return np.ascontiguousarray(np.clip(picture, 0, 1)[None], dtype=np.float32)


def _still(canvas: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The scene itself; it goes on beyond its edges at the opposite ones."""
    import numpy as np

    random = np.random.default_rng(list(canvas))
    height, width = canvas
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    picture = np.full((3, height, width), 0.45)
    for _ in range(_BLOBS):
        radius = random.uniform(0.05, 0.25) * min(canvas)
        far_y = _distance(y, random.uniform(0, height), height)
        far_x = _distance(x, random.uniform(0, width), width)
        blob = np.exp(-(far_y**2 + far_x**2) / (2 * radius**2))
        picture += random.uniform(-0.35, 0.35, (3, 1, 1)) * blob
    for _ in range(_RECTANGLES):
        size_y, size_x = (
            max(int(random.uniform(0.04, 0.35) * size), 2) for size in (height, width)
        )
        rows = (int(random.integers(height)) + np.arange(size_y)) % height
        columns = (int(random.integers(width)) + np.arange(size_x)) % width
        texture = random.uniform(-0.15, 0.15, (3, size_y, size_x))
        color = random.uniform(0, 1, (3, 1, 1))
        picture[:, rows[:, None], columns[None, :]] = color + texture
    return picture


def _distance(
    positions: npt.NDArray[np.int64], middle: float, size: int
) -> npt.NDArray[np.float64]:
    """How far positions are from the middle, the shorter way around."""
    import numpy as np

    away = np.abs(positions - middle)
    shorter: npt.NDArray[np.float64] = np.minimum(away, size - away)
    return shorter
