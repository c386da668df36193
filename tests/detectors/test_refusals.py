"""A detector that cannot be compiled is refused at once, with what would work."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_detectors
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign

from tunekit.detectors.recognition import detector_in
from tunekit.errors import ModelFileError
from tunekit.models import load_source
from tunekit.recipe.detector import BoxSuppression, DetectorSpec

FITTING = (1, 3, 96, 128)


class OwnHeads(RoIHeads):
    """Might choose anything."""


def refusal(
    module: Any, shape: tuple[int, ...] = FITTING, dtype: str = "float32", spec: Any = None
) -> str:
    with pytest.raises(ModelFileError) as error:
        detector_in(module, "net", [(shape, dtype)], spec)
    return f"{error.value.message}; {error.value.hint}"


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (
            (1, 3, 100, 128),
            "multiples of 32, which 100x128 is not; the next size is [1, 3, 128, 128]",
        ),
        ((4, 3, 96, 128), "one picture at a time, and the recipe gives 4; shape: [1, 3, 96, 128]"),
        ((3, 96, 128), "with a batch axis, not [3, 96, 128]; shape: [1, 3, 96, 128]"),
        ((1, 1, 96, 128), "[1, 3, height, width], not [1, 1, 96, 128]"),
    ],
)
def test_a_canvas_that_does_not_fit_is_answered_with_one_that_does(
    shape: tuple[int, ...], words: str
) -> None:
    assert words in refusal(tiny_detectors.faster_rcnn(), shape)


def test_other_numbers_than_floats_are_refused() -> None:
    assert "float32, from 0 to 1, not uint8" in refusal(tiny_detectors.faster_rcnn(), dtype="uint8")


def test_two_inputs_are_refused() -> None:
    with pytest.raises(ModelFileError, match="one picture, and the recipe gives 2 inputs"):
        detector_in(tiny_detectors.ssd(), "net", [(FITTING, "float32")] * 2, None)


def own_forward() -> Any:
    return tiny_detectors.OwnForward(tiny_detectors._pyramid(), **tiny_detectors._rcnn({}))


def own_anchors() -> Any:
    module: Any = tiny_detectors.faster_rcnn()
    module.rpn.anchor_generator = tiny_detectors.OwnAnchors(((8,),) * 5, ((1.0,),) * 5)
    return module


def own_choice() -> Any:
    module: Any = tiny_detectors.faster_rcnn()
    module.roi_heads.__class__ = OwnHeads
    return module


def pooled(ratio: int, size: int = 14) -> Any:
    module: Any = tiny_detectors.mask_rcnn()
    module.roi_heads.mask_roi_pool = MultiScaleRoIAlign(["0", "1"], size, ratio)
    return module


def own_head() -> Any:
    module: Any = tiny_detectors.retinanet()
    module.head.classification_head = torch.nn.Identity()
    return module


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (own_forward, "it has a forward of its own; a module with torchvision's"),
        (own_anchors, "an anchor generator of its own, OwnAnchors in place of AnchorGenerator"),
        (own_choice, "a choice of boxes of its own, OwnHeads in place of RoIHeads"),
        (lambda: pooled(0), "a sampling_ratio of 0 in its RoI pooling; 1 to 4"),
        (lambda: pooled(5), "a sampling_ratio of 5 in its RoI pooling; 1 to 4"),
        (lambda: pooled(2, 33), "it pools RoIs to 33x33; an output_size of at most 32"),
        (own_head, "a classification head of its own, Identity"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_not_known_is_named(module: Any, words: str) -> None:
    assert words in refusal(module())


def test_a_model_that_is_no_detector_is_told_where_the_recipe_says_it_is() -> None:
    words = refusal(torch.nn.Conv2d(3, 4, 3), spec=DetectorSpec(masks="pasted"))
    assert "no detector that tunekit knows" in words
    assert "RetinaNet" in words
    assert detector_in(torch.nn.Conv2d(3, 4, 3), "net", [(FITTING, "float32")], None) is None


def test_suppression_of_boxes_is_for_those_that_leave_it_out() -> None:
    words = refusal(tiny_detectors.faster_rcnn(), spec=DetectorSpec(nms=BoxSuppression()))
    assert "model.detector.nms" in words


def test_it_is_refused_before_anything_is_computed(spec: Any) -> None:
    module = tiny_detectors.faster_rcnn(
        rpn_anchor_generator=AnchorGenerator(((8,),) * 5, ((1.0,),) * 5)
    )
    module.register_forward_pre_hook(lambda *_: pytest.fail("the module ran"))
    refusal(module, (1, 3, 97, 128))
    with pytest.raises(ModelFileError, match="the recipe gives 2"):
        load_source(spec("faster_rcnn", shape=(2, 3, 96, 128)))


def test_a_detector_that_finds_nothing_in_its_scenes_is_refused(spec: Any) -> None:
    source = load_source(spec("retinanet", arguments={"score_thresh": 0.999}))
    nothing = [output * 0 for output in source.reference(source.sample_inputs(0))]
    with pytest.raises(ModelFileError, match="finds nothing in the scene") as error:
        source.require_telling([nothing])
    assert "model.detector.samples" in str(error.value.hint)
    assert not source.compare(nothing, nothing).within(1.0)


def test_a_detector_of_torchvision_is_refused_before_it_gets_weights(spec: Any) -> None:
    model = spec("torchvision:ssdlite320_mobilenet_v3_large", shape=(2, 3, 320, 320))
    with pytest.raises(ModelFileError, match="one picture at a time, and the recipe gives 2"):
        _ = load_source(model).outputs
