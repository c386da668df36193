"""RetinaNet, FCOS and SSD of torchvision, with any backbone: boxes from every place of the maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torchvision.models.detection import fcos, retinanet, ssd, ssdlite
from torchvision.models.detection._utils import BoxCoder, BoxLinearCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from tunekit.detectors import operators
from tunekit.detectors.family import Detector, Refusal, odd_parts, odd_size
from tunekit.detectors.levels import (
    Normalization,
    anchors_by_level,
    feature_maps,
    feature_shapes,
)
from tunekit.detectors.matching import BOXES, COUNT, LABELS, SCORES, MatchingRule
from tunekit.detectors.original import PaddedOriginal
from tunekit.detectors.random_weights import bias_for, outputs_of, spread

Maps = Sequence[torch.Tensor]


class DenseDetector(Detector):
    """One that scores every anchor on every map, and chooses among them in one step."""

    base: ClassVar[type[nn.Module]]
    generator: ClassVar[type] = AnchorGenerator
    coder: ClassVar[type] = BoxCoder
    heads: ClassVar[Mapping[str, tuple[type, ...]]]
    """By their names below `head`, the classes of parts whose doings are known."""

    box_spread: ClassVar[tuple[float, float]]
    """Mean and standard deviation of what a trained one says of its boxes, about."""

    def refusal(self) -> Refusal | None:
        module = self.module
        if type(module).forward is not self.base.forward or (
            type(module).postprocess_detections is not self.base.postprocess_detections  # type: ignore[attr-defined]
        ):
            return Refusal("has a forward of its own", "a module with torchvision's")
        parts = [
            ("anchor generator", module.anchor_generator, self.generator),
            ("transform", module.transform, GeneralizedRCNNTransform),
            ("box coder", module.box_coder, self.coder),
        ]
        for name, known in self.heads.items():
            part = getattr(module.head, name, None)
            parts.append(
                (
                    name.replace("_", " "),
                    part,
                    next((kind for kind in known if type(part) is kind), known[0]),
                )
            )
        for odd in odd_parts(parts):
            return Refusal(f"has {odd}", "torchvision's own parts")
        return odd_size(self.canvas, module.transform.size_divisible)

    @classmethod
    def is_kind_of(cls, module: nn.Module) -> bool:
        return isinstance(module, cls.base)

    @property
    def rule(self) -> MatchingRule:
        module = self.module
        return MatchingRule(
            self.canvas, module.score_thresh, module.nms_thresh, module.detections_per_img
        )

    def static(self) -> nn.Module:
        return StaticDense(self)

    def original(self) -> nn.Module:
        return PaddedOriginal(self.module, self.rule.limit)

    def see(self, pictures: torch.Tensor) -> None:
        self.module.head(self.features(pictures))

    def features(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """The maps of pictures."""
        normalized = Normalization(self.module.transform)(pictures)
        return list(feature_maps(self.module.backbone, normalized).values())

    def settle(self, pictures: Sequence[torch.Tensor]) -> None:
        features = [self.features(picture) for picture in pictures]
        scores, boxes = self.last_layers()
        for layers, mean, std in ((scores, 0.0, 2.0), (boxes, *self.box_spread)):
            with outputs_of(*layers) as seen:
                for maps in features:
                    self.module.head(maps)
            for layer, outputs in zip(layers, seen, strict=True):
                spread(layer, outputs, mean=mean, std=std)
        given = [self.module.head(maps) for maps in features]

        def found(shift: float) -> list[int]:
            return [
                len(self._boxes(outputs, maps, shift))
                for outputs, maps in zip(given, features, strict=True)
            ]

        wanted, limit = self.spec.expected_detections, self.rule.limit
        self.shift(bias_for(found, wanted, limit))

    def _boxes(self, outputs: Mapping[str, torch.Tensor], maps: Maps, shift: float) -> torch.Tensor:
        """What is found if scores are raised by the shift."""
        logits = outputs["cls_logits"] + shift * self.raised(outputs["cls_logits"].shape[-1])
        shapes = {str(level): values.shape for level, values in enumerate(maps)}
        anchors = anchors_by_level(self.module.anchor_generator, shapes, self.canvas)
        boxes: torch.Tensor = self.chosen({**outputs, "cls_logits": logits}, anchors)["boxes"]
        return boxes

    def chosen(self, outputs: Mapping[str, torch.Tensor], anchors: Maps) -> Any:
        """The module's own choice among the boxes of one picture."""
        counts = [len(boxes) for boxes in anchors]
        split = {name: list(torch.split(values, counts, dim=1)) for name, values in outputs.items()}
        return self.module.postprocess_detections(split, [list(anchors)], [self.canvas])[0]

    def raised(self, classes: int) -> torch.Tensor:
        """Which classes are raised for more to be found."""
        return torch.ones(classes)

    def shift(self, by: float) -> None:
        """Raises the scores by changing the bias of the last layers."""
        for layer in self.last_layers()[0]:
            classes = self.raised(self.classes).repeat(len(layer.bias) // self.classes)
            layer.bias += by * classes

    @property
    def classes(self) -> int:
        """Classes that each anchor has scores of."""
        return int(self.module.head.classification_head.num_classes)

    @abstractmethod
    def last_layers(self) -> tuple[list[Any], list[Any]]:
        """The layers that give scores, and those that give boxes."""

    @abstractmethod
    def heads_of(self) -> nn.Module:
        """Maps to what the last layers give of each, in lists: scores, boxes, and what else the
        operator takes."""

    @property
    @abstractmethod
    def operator(self) -> Callable[..., Any]:
        """The choice among the boxes."""

    def settings(self) -> dict[str, Any]:
        """The operator's attributes."""
        module = self.module
        return {
            "score_threshold": float(module.score_thresh),
            "nms_threshold": float(module.nms_thresh),
            "topk_candidates": module.topk_candidates,
            "detections": module.detections_per_img,
            "image_size": list(self.canvas),
        }


class RetinaNetDetector(DenseDetector):
    """A `RetinaNet`."""

    kind = "a RetinaNet"
    base = retinanet.RetinaNet
    box_spread = (0.0, 0.25)
    heads: ClassVar = {
        "classification_head": (retinanet.RetinaNetClassificationHead,),
        "regression_head": (retinanet.RetinaNetRegressionHead,),
    }

    def last_layers(self) -> tuple[list[Any], list[Any]]:
        head = self.module.head
        return [head.classification_head.cls_logits], [head.regression_head.bbox_reg]

    def heads_of(self) -> nn.Module:
        return SharedHeads(self.module.head)

    @property
    def operator(self) -> Callable[..., Any]:
        return operators.retinanet_detections

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), **_coding(self.module.box_coder)}


class FCOSDetector(DenseDetector):
    """An `FCOS`."""

    kind = "an FCOS"
    base = fcos.FCOS
    box_spread = (2.0, 0.7)
    coder = BoxLinearCoder
    heads: ClassVar = {
        "classification_head": (fcos.FCOSClassificationHead,),
        "regression_head": (fcos.FCOSRegressionHead,),
    }

    def last_layers(self) -> tuple[list[Any], list[Any]]:
        head = self.module.head
        return [head.classification_head.cls_logits], [head.regression_head.bbox_reg]

    def heads_of(self) -> nn.Module:
        return CenteredHeads(self.module.head)

    @property
    def operator(self) -> Callable[..., Any]:
        return operators.fcos_detections

    def settings(self) -> dict[str, Any]:
        return {
            **super().settings(),
            "normalize_by_size": self.module.box_coder.normalize_by_size,
        }


class SSDDetector(DenseDetector):
    """An `SSD`, SSDlite among them."""

    kind = "an SSD"
    base = ssd.SSD
    box_spread = (0.0, 0.7)
    generator = DefaultBoxGenerator
    heads: ClassVar = {
        "classification_head": (ssd.SSDClassificationHead, ssdlite.SSDLiteClassificationHead),
        "regression_head": (ssd.SSDRegressionHead, ssdlite.SSDLiteRegressionHead),
    }

    def last_layers(self) -> tuple[list[Any], list[Any]]:
        head = self.module.head
        scores, boxes = (
            [_last(block) for block in part.module_list]
            for part in (head.classification_head, head.regression_head)
        )
        return scores, boxes

    @property
    def classes(self) -> int:
        return int(self.module.head.classification_head.num_columns)

    def raised(self, classes: int) -> torch.Tensor:
        # All but the background.
        return (torch.arange(classes) > 0).float()

    def chosen(self, outputs: Mapping[str, torch.Tensor], anchors: Maps) -> Any:
        return self.module.postprocess_detections(
            outputs, [torch.cat(list(anchors))], [self.canvas]
        )[0]

    def heads_of(self) -> nn.Module:
        return HeadsByLevel(self.module.head)

    @property
    def operator(self) -> Callable[..., Any]:
        return operators.ssd_detections

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), **_coding(self.module.box_coder)}


class StaticDense(nn.Module):
    """A dense detector with fixed shapes, of one picture [1, 3, h, w]."""

    def __init__(self, given: DenseDetector) -> None:
        super().__init__()
        module = given.module
        self.normalization = Normalization(module.transform)
        self.backbone = module.backbone
        self.heads = given.heads_of()
        self.operator = given.operator
        self.settings = given.settings()
        shapes = feature_shapes(module.backbone, given.canvas)
        anchors = anchors_by_level(module.anchor_generator, shapes, given.canvas)
        self.levels = len(anchors)
        for level, boxes in enumerate(anchors):
            self.register_buffer(f"anchors_{level}", boxes, persistent=False)
        self.eval()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features = feature_maps(self.backbone, self.normalization(image))
        given = self.heads(list(features.values()))
        anchors = [getattr(self, f"anchors_{level}") for level in range(self.levels)]
        boxes, scores, labels, count = self.operator(*given, anchors, **self.settings)
        return {BOXES: boxes, SCORES: scores, LABELS: labels, COUNT: count}


class SharedHeads(nn.Module):
    """RetinaNet's: the same layers on every map."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.classification, self.regression = head.classification_head, head.regression_head

    def forward(self, maps: Maps) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        scores = [
            self.classification.cls_logits(self.classification.conv(values)) for values in maps
        ]
        boxes = [self.regression.bbox_reg(self.regression.conv(values)) for values in maps]
        return scores, boxes


class CenteredHeads(nn.Module):
    """FCOS's: besides scores and boxes, how near to the middle of its object a place is."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.classification, self.regression = head.classification_head, head.regression_head

    def forward(
        self, maps: Maps
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        scores = [
            self.classification.cls_logits(self.classification.conv(values)) for values in maps
        ]
        hidden = [self.regression.conv(values) for values in maps]
        boxes = [torch.relu(self.regression.bbox_reg(values)) for values in hidden]
        return scores, boxes, [self.regression.bbox_ctrness(values) for values in hidden]


class HeadsByLevel(nn.Module):
    """SSD's: layers of its own for each map."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.classification = head.classification_head.module_list
        self.regression = head.regression_head.module_list

    def forward(self, maps: Maps) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        scores = [layer(values) for layer, values in zip(self.classification, maps, strict=True)]
        boxes = [layer(values) for layer, values in zip(self.regression, maps, strict=True)]
        return scores, boxes


def _coding(coder: Any) -> dict[str, Any]:
    return {"weights": list(coder.weights), "bbox_xform_clip": coder.bbox_xform_clip}


def _last(block: nn.Module) -> Any:
    """The last convolution of a block, or the block itself."""
    return [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)][-1]
