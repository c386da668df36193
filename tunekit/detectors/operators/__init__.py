"""The operators of detectors, `torch.ops.tunekit`: what depends on the values of tensors.

Each is defined in torch, out of torchvision's functions, with results of fixed shapes: padded to
the most that there may be, with a count.

- `proposals`, `box_head`, `dense`, `yolo` what is kept of many boxes
- `pooling`, `masks`, `keypoint_head` what is read in boxes, and put in the picture
- `chunks` how the heads of detections are cut
- `boxes` what the definitions share
"""

from tunekit.detectors.operators.box_head import roi_detections
from tunekit.detectors.operators.dense import (
    fcos_detections,
    retinanet_detections,
    ssd_detections,
)
from tunekit.detectors.operators.keypoint_head import keypoints
from tunekit.detectors.operators.masks import mask_select, paste_masks
from tunekit.detectors.operators.pooling import roi_align, roi_align_chunk
from tunekit.detectors.operators.proposals import rpn_proposals
from tunekit.detectors.operators.yolo import yolo_detections

__all__ = [
    "fcos_detections",
    "keypoints",
    "mask_select",
    "paste_masks",
    "retinanet_detections",
    "roi_align",
    "roi_align_chunk",
    "roi_detections",
    "rpn_proposals",
    "ssd_detections",
    "yolo_detections",
]
