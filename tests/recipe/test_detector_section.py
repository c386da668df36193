"""What a recipe says of a detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tunekit.errors import RecipeError
from tunekit.recipe import Recipe, dump_recipe, load_recipe, parse_recipe, recipe_digest

TEXT = """\
name: found
model:
  source: torchvision:maskrcnn_resnet50_fpn
  inputs: [{{name: image, shape: [1, 3, 320, 320]}}]
  {said}
"""


def recipe_with(folder: Path, said: str) -> Recipe:
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(TEXT.format(said=said))
    return load_recipe(folder / "recipe.yaml")


def test_all_of_it_may_be_left_out(tmp_path: Path) -> None:
    assert recipe_with(tmp_path, "").model.detector is None
    given = recipe_with(tmp_path, "detector: {}").model.detector
    assert given is not None
    assert (given.masks, given.expected_detections, given.nms, given.samples) == (
        "raw",
        10,
        None,
        (),
    )


def test_samples_are_found_beside_the_recipe_and_count_by_what_they_hold(tmp_path: Path) -> None:
    digests = []
    for name, value in (("one", 1), ("two", 1), ("three", 2)):
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / "street.npy", np.full((3, 2, 2), value, np.float32))
        recipe = recipe_with(folder, "detector: {samples: [street.npy]}")
        assert recipe.model.detector is not None
        assert recipe.model.detector.samples == (folder / "street.npy",)
        assert parse_recipe(dump_recipe(recipe), "again") == recipe
        digests.append(recipe_digest(recipe))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("detector: {mask: raw}", "model.detector.mask: unknown key; did you mean 'masks'?"),
        ("detector: {masks: big}", "model.detector.masks: must be one of raw, pasted, not 'big'"),
        ("detector: {nms: {iou: 2}}", "model.detector.nms.iou: must be at most 1.0, not 2"),
        ("detector: {expected_detections: 0}", "must be at least 1, not 0"),
        ("detector: {samples: [none.npy]}", "none.npy does not exist"),
    ],
)
def test_a_mistake_is_told_by_its_key(tmp_path: Path, said: str, words: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe_with(tmp_path, said)
    assert words in error.value.message


def test_a_model_file_is_no_detector(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "recipe.yaml").write_text(
        "name: found\nmodel: {source: model.onnx, detector: {masks: raw}}\n"
    )
    with pytest.raises(RecipeError, match=r"detector cannot be given for .*only torch modules are"):
        load_recipe(tmp_path / "recipe.yaml")
