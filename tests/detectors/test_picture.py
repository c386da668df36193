"""Boxes in the pixels of a picture of any size that was brought onto the canvas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_detectors
from compiled_detectors import recipe_of

from tunekit.detectors.recognition import detector_in
from tunekit.errors import ModelFileError
from tunekit.library import compile_recipe
from tunekit.models import load_source
from tunekit.models.sources.detector_model import DetectorModel
from tunekit.recipe.detector import DetectorSpec
from tunekit.recipe.schema import InputSpec

SIZED = InputSpec(name="image_size", shape=(2,), dtype="int64")


def sized(spec: Any, name: str) -> Any:
    given = spec(name)
    return given.model_copy(update={"inputs": (*given.inputs, SIZED)})


def found(source: DetectorModel, inputs: dict[str, Any]) -> dict[str, Any]:
    names = [spec.name for spec in source.outputs]
    return dict(zip(names, source.reference(inputs), strict=True))


@pytest.mark.parametrize("name", ["keypoint_rcnn", "fcos"])
def test_boxes_are_those_of_the_canvas_as_many_times_as_large(
    name: str, detector: Any, spec: Any
) -> None:
    source = load_source(sized(spec, name))
    assert isinstance(source, DetectorModel)
    [picture] = detector(name).sample_inputs(3).values()
    on_canvas = found(detector(name), {"image": picture})
    size = np.array([96 * 3, 128 * 2])  # It is the height that fits.
    in_picture = found(source, {"image": picture, "image_size": size})
    boxes = np.minimum(on_canvas["boxes"] * 3, [256, 288, 256, 288])
    np.testing.assert_allclose(in_picture["boxes"], boxes, rtol=1e-5, atol=1e-3)
    if name == "keypoint_rcnn":
        places = on_canvas["keypoints"] * [3, 3, 1]
        np.testing.assert_allclose(in_picture["keypoints"], places, rtol=1e-5, atol=1e-3)
    for same in ("scores", "labels", "count"):
        assert np.array_equal(in_picture[same], on_canvas[same])


def test_a_library_takes_the_size_of_the_picture(tmp_path: Any, spec: Any) -> None:
    recipe = recipe_of(tmp_path, sized(spec, "ssd"))
    library = compile_recipe(recipe, selection=False)
    source = load_source(recipe.model)
    assert [tensor.name for tensor in library.manifest.inputs] == ["image", "image_size"]
    inputs = source.sample_inputs(5)
    assert list(inputs["image_size"]) == [2 * 96, 2 * 128]
    outputs: Any = library.run(**inputs)
    comparison = source.compare(source.reference(inputs), list(outputs.values()))
    assert comparison.within(1e-3), comparison.reason
    assert outputs["boxes"].max() > 128
    half: Any = library.run(image=inputs["image"], image_size=inputs["image_size"] // 4)
    np.testing.assert_allclose(half["boxes"] * 4, outputs["boxes"], atol=1e-3)


def test_masks_are_not_pasted_into_pictures_of_any_size() -> None:
    inputs = [((1, 3, 96, 128), "float32"), ((2,), "float32")]
    module = tiny_detectors.mask_rcnn()
    with pytest.raises(ModelFileError, match="pasted, into pictures of a size that is an input"):
        detector_in(module, "net", inputs, DetectorSpec(masks="pasted"))
    assert detector_in(module, "net", inputs, None) is not None
    inputs[1] = ((2,), "float64")
    with pytest.raises(ModelFileError, match="gives 2 inputs") as error:
        detector_in(module, "net", inputs, None)
    assert "{name: image_size, shape: [2]}" in str(error.value.hint)
