"""Faster, Mask and Keypoint R-CNN of torchvision, with any backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import _setup_scales

from tunekit.detectors import operators
from tunekit.detectors.family import Canvas, Detector, Refusal, odd_parts, odd_size
from tunekit.detectors.levels import (
    Normalization,
    anchors_by_level,
    feature_maps,
    feature_shapes,
)
from tunekit.detectors.matching import (
    BOXES,
    COUNT,
    KEYPOINT_SCORES,
    KEYPOINTS,
    LABELS,
    MASKS,
    SCORES,
    MatchingRule,
)
from tunekit.detectors.operators.chunks import chunk_rows
from tunekit.detectors.operators.pooling import MOST_BINS, MOST_RATIO
from tunekit.detectors.original import PaddedOriginal
from tunekit.detectors.random_weights import bias_for, last_layers, outputs_of, spread

_MASK_SIZE = 28
_SEEN_BOXES = 64


class RCNNDetector(Detector):
    """A `GeneralizedRCNN`: proposals, then boxes, then masks or keypoints of what was found."""

    kind = "an R-CNN"

    @staticmethod
    def is_kind_of(module: nn.Module) -> bool:
        return isinstance(module, GeneralizedRCNN)

    def refusal(self) -> Refusal | None:
        module = self.module
        pools = [("RoI pooling", pool, MultiScaleRoIAlign) for pool in self._pools()]
        known = "torchvision's own parts"
        if type(module).forward is not GeneralizedRCNN.forward:
            return Refusal("has a forward of its own", "a module with torchvision's")
        for odd in odd_parts(
            [
                ("proposal network", module.rpn, RegionProposalNetwork),
                (
                    "anchor generator",
                    getattr(module.rpn, "anchor_generator", None),
                    AnchorGenerator,
                ),
                ("choice of boxes", module.roi_heads, RoIHeads),
                ("transform", module.transform, GeneralizedRCNNTransform),
                *pools,
            ]
        ):
            return Refusal(f"has {odd}", known)
        for pool in self._pools():
            if not 1 <= pool.sampling_ratio <= MOST_RATIO:
                return Refusal(
                    f"has a sampling_ratio of {pool.sampling_ratio} in its RoI pooling",
                    f"1 to {MOST_RATIO}: torchvision's own is 2",
                )
            if pool.output_size[0] != pool.output_size[1]:
                return Refusal("pools RoIs to what is no square", "an output_size of one number")
            if pool.output_size[0] > MOST_BINS:
                return Refusal(
                    f"pools RoIs to {pool.output_size[0]}x{pool.output_size[0]}",
                    f"an output_size of at most {MOST_BINS}: torchvision's own are 7 and 14",
                )
        return odd_size(self.canvas, module.transform.size_divisible)

    def _pools(self) -> list[Any]:
        heads = self.module.roi_heads
        names = ("box_roi_pool", "mask_roi_pool", "keypoint_roi_pool")
        return [pool for name in names if (pool := getattr(heads, name, None)) is not None]

    @property
    def rule(self) -> MatchingRule:
        heads = self.module.roi_heads
        pasted = self.spec.masks == "pasted" and heads.has_mask()
        return MatchingRule(
            self.canvas,
            heads.score_thresh,
            heads.nms_thresh,
            heads.detections_per_img,
            pasted=_MASK_SIZE if pasted else 0,
        )

    def static(self) -> nn.Module:
        expected = min(self.spec.expected_detections, self.rule.limit)
        return StaticRCNN(
            self.module, self.canvas, expected=expected, pastes=bool(self.rule.pasted)
        )

    def original(self) -> nn.Module:
        return PaddedOriginal(self.module, self.rule.limit, pastes=bool(self.rule.pasted))

    def see(self, pictures: torch.Tensor) -> None:
        module, heads = self.module, self.module.roi_heads
        features = self._features(pictures)
        module.rpn.head(list(features.values()))
        boxes = [_any_boxes(self.canvas)] * len(pictures)
        shapes = [self.canvas] * len(pictures)
        heads.box_predictor(heads.box_head(heads.box_roi_pool(features, boxes, shapes)))
        for pool, head, last in _parts_by_box(heads).values():
            last(head(pool(features, boxes, shapes)))

    def settle(self, pictures: Sequence[torch.Tensor]) -> None:
        module, heads, shapes = self.module, self.module.roi_heads, [self.canvas]
        features = [self._features(picture) for picture in pictures]
        head = module.rpn.head
        score, box = last_layers(head, "cls_logits", "bbox_pred")
        with outputs_of(score, box) as (logits, deltas):
            for maps in features:
                head(list(maps.values()))
        spread(score, logits, mean=-3.0, std=2.0)
        spread(box, deltas, mean=0.0, std=0.25)
        proposals = [self._proposals(maps) for maps in features]
        rows = [
            heads.box_head(heads.box_roi_pool(maps, boxes, shapes))
            for maps, boxes in zip(features, proposals, strict=True)
        ]
        predictor = heads.box_predictor
        score, box = last_layers(predictor, "cls_score", "bbox_pred")
        with outputs_of(score, box) as (logits, deltas):
            for pooled in rows:
                predictor(pooled)
        spread(score, logits, mean=0.0, std=2.2)
        spread(box, deltas, mean=0.0, std=0.7)
        given = [(boxes, *predictor(pooled)) for boxes, pooled in zip(proposals, rows, strict=True)]

        def found(shift: float) -> list[int]:
            return [
                len(self._boxes(boxes, logits, deltas, shift)) for boxes, logits, deltas in given
            ]

        wanted, limit = self.spec.expected_detections, self.rule.limit
        score.bias[0] -= bias_for(found, wanted, limit)
        for pool, head, last in _parts_by_box(heads).values():
            layer = [part for part in last.modules() if hasattr(part, "weight")][-1]
            with outputs_of(layer) as (logits,):
                for maps, boxes in zip(features, proposals, strict=True):
                    last(head(pool(maps, [boxes[0][:_SEEN_BOXES]], shapes)))
            spread(layer, logits, mean=0.0, std=2.0, together=True)

    def _features(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        normalized = Normalization(self.module.transform)(pictures)
        return feature_maps(self.module.backbone, normalized)

    def _proposals(self, features: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        images = ImageList(torch.empty((1, 3, *self.canvas)), [self.canvas])
        proposals: list[torch.Tensor] = self.module.rpn(images, features)[0]
        return proposals

    def _boxes(
        self,
        proposals: list[torch.Tensor],
        logits: torch.Tensor,
        deltas: torch.Tensor,
        shift: float,
    ) -> torch.Tensor:
        """What is found if the background scores less by the shift."""
        logits = logits.clone()
        logits[:, 0] -= shift
        choose = self.module.roi_heads.postprocess_detections
        boxes: torch.Tensor = choose(logits, deltas, proposals, [self.canvas])[0][0]
        return boxes


class StaticRCNN(nn.Module):
    """An R-CNN with fixed shapes, of one picture [1, 3, h, w]."""

    def __init__(self, given: Any, canvas: Canvas, *, expected: int, pastes: bool) -> None:
        super().__init__()
        rpn, heads = given.rpn, given.roi_heads
        self.canvas = list(canvas)
        self.pastes = pastes
        self.normalization = Normalization(given.transform)
        self.backbone = given.backbone
        self.rpn_head = rpn.head
        self.box_head = heads.box_head
        self.box_predictor = heads.box_predictor
        shapes = feature_shapes(given.backbone, canvas)
        anchors = anchors_by_level(rpn.anchor_generator, shapes, canvas)
        self.levels = len(anchors)
        for level, boxes in enumerate(anchors):
            self.register_buffer(f"anchors_{level}", boxes, persistent=False)
        before = rpn._pre_nms_top_n["testing"]
        most = sum(min(before, len(boxes)) for boxes in anchors)
        self.proposals: dict[str, Any] = {
            "pre_nms_top_n": before,
            "post_nms_top_n": min(rpn._post_nms_top_n["testing"], most),
            "nms_threshold": float(rpn.nms_thresh),
            "score_threshold": float(rpn.score_thresh),
            "min_size": float(rpn.min_size),
            "weights": list(rpn.box_coder.weights),
            "bbox_xform_clip": rpn.box_coder.bbox_xform_clip,
            "image_size": self.canvas,
        }
        self.box_pool = PooledRegions(heads.box_roi_pool, shapes, canvas)
        self.limit = heads.detections_per_img
        self.detections: dict[str, Any] = {
            "score_threshold": float(heads.score_thresh),
            "nms_threshold": float(heads.nms_thresh),
            "detections": self.limit,
            "weights": list(heads.box_coder.weights),
            "bbox_xform_clip": heads.box_coder.bbox_xform_clip,
            "image_size": self.canvas,
        }
        self.by_box = nn.ModuleDict()
        for name, (pool, head, last) in _parts_by_box(heads).items():
            pooled = PooledRegions(pool, shapes, canvas)
            self.by_box[name] = ByBox(pooled, head, last, self.limit, expected)
        self.eval()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features = feature_maps(self.backbone, self.normalization(image))
        objectness, deltas = self.rpn_head(list(features.values()))
        anchors = [getattr(self, f"anchors_{level}") for level in range(self.levels)]
        proposals, rows = operators.rpn_proposals(objectness, deltas, anchors, **self.proposals)
        pooled = self.box_pool(features, proposals, rows)
        logits, regression = self.box_predictor(self.box_head(pooled))
        boxes, scores, labels, count = operators.roi_detections(
            logits, regression, proposals, rows, **self.detections
        )
        found = {BOXES: boxes, SCORES: scores, LABELS: labels}
        if MASKS in self.by_box:
            masks = operators.mask_select(self.by_box[MASKS](features, boxes, count), labels, count)
            if self.pastes:
                height, width = self.canvas
                masks = operators.paste_masks(masks, boxes, count, height=height, width=width)
            found[MASKS] = masks
        if KEYPOINTS in self.by_box:
            heatmaps = self.by_box[KEYPOINTS](features, boxes, count)
            found[KEYPOINTS], found[KEYPOINT_SCORES] = operators.keypoints(heatmaps, boxes, count)
        return {**found, COUNT: count}


class PooledRegions(nn.Module):
    """A `MultiScaleRoIAlign` of known feature maps: boxes to rows of fixed number."""

    def __init__(self, pool: Any, shapes: Mapping[str, Sequence[int]], canvas: Canvas) -> None:
        super().__init__()
        self.names = [name for name in shapes if name in pool.featmap_names]
        scales, levels = pool.scales, pool.map_levels
        if scales is None or levels is None:
            maps = [torch.empty((1, 1, *shapes[name][2:])) for name in self.names]
            scales, _ = _setup_scales(maps, [canvas], pool.canonical_scale, pool.canonical_level)
        self.settings: dict[str, Any] = {
            "output_size": pool.output_size[0],
            "sampling_ratio": pool.sampling_ratio,
            "scales": [float(scale) for scale in scales],
            "canonical_scale": pool.canonical_scale,
            "canonical_level": pool.canonical_level,
        }

    def forward(
        self, features: Mapping[str, torch.Tensor], boxes: torch.Tensor, count: torch.Tensor
    ) -> torch.Tensor:
        maps = [features[name] for name in self.names]
        rows: torch.Tensor = operators.roi_align(maps, boxes, count, **self.settings)
        return rows

    def chunk(
        self,
        features: Mapping[str, torch.Tensor],
        boxes: torch.Tensor,
        count: torch.Tensor,
        **which: int,
    ) -> torch.Tensor:
        """The rows of one of the pieces that boxes are cut into."""
        maps = [features[name] for name in self.names]
        rows: torch.Tensor
        rows, _ = operators.roi_align_chunk(maps, boxes, count, **which, **self.settings)
        return rows


class ByBox(nn.Module):
    """What is computed of each box that was found, in chunks, so that few boxes take little time:
    a list of what the predictor gives of each."""

    def __init__(
        self, pool: PooledRegions, head: nn.Module, last: nn.Module, limit: int, expected: int
    ) -> None:
        super().__init__()
        self.pool = pool
        self.head = head
        self.last = last
        self.chunks = len(chunk_rows(limit))
        self.expected = expected

    def forward(
        self, features: Mapping[str, torch.Tensor], boxes: torch.Tensor, count: torch.Tensor
    ) -> list[torch.Tensor]:
        rows = [
            self.pool.chunk(features, boxes, count, chunk=chunk, expected_detections=self.expected)
            for chunk in range(self.chunks)
        ]
        return [self.last(self.head(chunk)) for chunk in rows]


def _parts_by_box(heads: Any) -> dict[str, tuple[Any, Any, Any]]:
    """Pooling, head and predictor of masks and of keypoints, those that are there."""
    parts = {}
    if heads.has_mask():
        parts[MASKS] = (heads.mask_roi_pool, heads.mask_head, heads.mask_predictor)
    if heads.has_keypoint():
        parts[KEYPOINTS] = (
            heads.keypoint_roi_pool,
            heads.keypoint_head,
            heads.keypoint_predictor,
        )
    return parts


def _any_boxes(canvas: Canvas) -> torch.Tensor:
    """Boxes of all sizes, anywhere on the canvas."""
    random = torch.Generator().manual_seed(0)
    size = torch.tensor([canvas[1], canvas[0]], dtype=torch.float32)
    sizes = size * 2 ** (-5 * torch.rand((_SEEN_BOXES, 2), generator=random))
    corners = torch.rand((_SEEN_BOXES, 2), generator=random) * (size - sizes)
    return torch.cat([corners, corners + sizes], dim=1)
