"""Which modules are detectors, and which of them can be compiled."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tunekit.errors import ModelFileError
from tunekit.recipe.detector import DetectorSpec

if TYPE_CHECKING:
    import torch

    from tunekit.detectors.family import Detector

FAMILIES = (
    "Faster, Mask and Keypoint R-CNN, RetinaNet, FCOS, SSD and SSDlite of torchvision, RT-DETR of "
    "ultralytics and, where model.detector.nms is given, its YOLO"
)
# What the size of a picture may come as.
_SIZES = [([2], dtype) for dtype in ("float32", "int32", "int64")]
_FRAMEWORKS = ("torchvision.models.detection", "ultralytics.nn.tasks")


def detector_in(
    module: torch.nn.Module,
    name: str,
    inputs: Sequence[tuple[Sequence[int], str]],
    spec: DetectorSpec | None,
) -> Detector | None:
    """The detector that a module is, or calls; None where it is something else.

    Args:
        module: the module, in evaluation mode.
        name: of the model, for messages.
        inputs: shape and dtype of each input.
        spec: what the recipe says of a detector.

    Raises:
        ModelFileError: it is one that cannot be compiled, or none where the recipe says it is.
    """
    found = _found(module, inputs, spec)
    if found is None:
        if spec is None:
            return None
        raise ModelFileError(
            f"{name} is no detector that tunekit knows, and the recipe has model.detector",
            hint=f"leave it out; detectors are {FAMILIES}",
        )
    family, part = found
    if spec is not None and spec.nms is not None and not family.takes_nms:
        raise ModelFileError(
            f"{name} is a detector ({family.kind}), which has a choice among its boxes",
            hint="leave model.detector.nms out: its thresholds are the module's own",
        )
    if spec is not None and spec.confidence is not None and not family.takes_confidence:
        raise ModelFileError(
            f"{name} is a detector ({family.kind}), which has a least score",
            hint="leave model.detector.confidence out"
            + (": it is a key of nms" if family.takes_nms else ": the module's own is used"),
        )
    spec = spec or DetectorSpec()
    detector = family(part, _canvas(name, family, inputs, spec.masks), spec)
    refusal = detector.refusal()
    if refusal is not None:
        raise ModelFileError(
            f"{name} is a detector ({family.kind}), and it {refusal.what}", hint=refusal.instead
        )
    return detector


def _found(
    module: torch.nn.Module, inputs: Sequence[tuple[Sequence[int], str]], spec: DetectorSpec | None
) -> tuple[type[Detector], Any] | None:
    """The family and the module of the detector that a module is or calls."""
    # What is not loaded cannot be what a module is made of.
    if not any(name in sys.modules for name in _FRAMEWORKS):
        return None
    for part in (module, *module.children()):
        for family in _families(spec):
            if family.is_kind_of(part) and (part is module or _calls(module, part, inputs)):
                return family, part
    return None


def _families(spec: DetectorSpec | None) -> Iterator[type[Detector]]:
    if _FRAMEWORKS[0] in sys.modules:
        from tunekit.detectors.dense import FCOSDetector, RetinaNetDetector, SSDDetector
        from tunekit.detectors.rcnn import RCNNDetector

        yield from (RCNNDetector, RetinaNetDetector, FCOSDetector, SSDDetector)
    if _FRAMEWORKS[1] in sys.modules:
        from tunekit.detectors.end_to_end import EndToEndYolo, RTDETRDetector
        from tunekit.detectors.yolo import YoloDetector

        yield RTDETRDetector
        # All its boxes are what a YOLO gives by itself, and what a recipe without `nms` asks for.
        if spec is not None and spec.nms is not None:
            yield YoloDetector
        elif spec is not None:
            yield EndToEndYolo


class _Reached(Exception):  # noqa: N818 - a signal, not an error
    """A part of a module is called."""


def _calls(
    module: torch.nn.Module, part: torch.nn.Module, inputs: Sequence[tuple[Sequence[int], str]]
) -> bool:
    """Whether a wrapper calls the whole of a part, and not only its layers, such as the backbone
    alone."""
    import torch

    def reached(*_: Any) -> None:
        raise _Reached

    hook = part.register_forward_pre_hook(reached)
    try:
        arguments = [
            torch.zeros(tuple(shape), dtype=getattr(torch, dtype)) for shape, dtype in inputs[:1]
        ]
        with torch.no_grad():
            module(*arguments)
    except _Reached:
        return True
    except Exception:  # noqa: BLE001 - what does not run is told where it is run in earnest
        return False
    finally:
        hook.remove()
    return False


def _canvas(
    name: str, family: type[Detector], inputs: Sequence[tuple[Sequence[int], str]], masks: str
) -> tuple[int, int]:
    """Height and width of the picture that a detector takes."""
    what = f"{name} is a detector ({family.kind}): it takes one picture"
    more = [(list(shape), dtype) for shape, dtype in inputs[1:]]
    if not inputs or (more and (len(more) > 1 or more[0] not in _SIZES)):
        raise ModelFileError(
            f"{what}, and the recipe gives {len(inputs)} inputs",
            hint="give model.inputs one: {name: image, shape: [1, 3, 800, 1088]}; a second one, "
            "{name: image_size, shape: [2]}, is height and width of a picture of any size that "
            "was brought onto it, which boxes then are in",
        )
    if more and masks == "pasted":
        raise ModelFileError(
            f"{name} is a detector whose masks the recipe wants pasted, into pictures of a size "
            "that is an input",
            hint="masks: raw, which are pasted where the picture is; or leave the second input out",
        )
    shape, dtype = inputs[0]
    sizes = list(shape)
    if len(sizes) == 3 and sizes[0] == 3:
        raise ModelFileError(f"{what} with a batch axis, not {sizes}", hint=f"shape: {[1, *sizes]}")
    if len(sizes) != 4 or sizes[1] != 3 or 0 in sizes:
        raise ModelFileError(f"{what} [1, 3, height, width], not {sizes}")
    if sizes[0] != 1:
        raise ModelFileError(
            f"{what} at a time, and the recipe gives {sizes[0]}",
            hint=f"shape: {[1, *sizes[1:]]}; call the library once for each picture",
        )
    if dtype != "float32":
        raise ModelFileError(
            f"{what} of float32, from 0 to 1, not {dtype}",
            hint="dtype: float32; or, of bytes, dtype: uint8 and normalize: {}",
        )
    return sizes[2], sizes[3]
