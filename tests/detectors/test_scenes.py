"""Scenes are pictures, the same for the same seed."""

from __future__ import annotations

import numpy as np

from tunekit.detectors.scenes import scene


def test_a_scene_is_a_picture_of_the_canvas_and_follows_its_seed() -> None:
    first, again, other = scene((48, 64), 1), scene((48, 64), 1), scene((48, 64), 2)
    assert first.shape == (1, 3, 48, 64)
    assert first.dtype == np.float32
    assert 0 <= first.min() < first.max() <= 1
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_scenes_of_one_canvas_have_the_same_in_them_elsewhere() -> None:
    means = [float(scene((96, 128), seed).mean()) for seed in range(5)]
    assert max(means) - min(means) < 0.01
