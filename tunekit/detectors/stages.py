"""The stages of a detector, by which people compare where the time of one goes.

They are those that MMDetection's benchmarks have: what comes before the network, the backbone, the
proposals, and then what is done of each box. Importing this loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

PREPROCESSING = "pre-processing"
BACKBONE = "backbone"
RPN_HEAD = "rpn_head"
PROPOSALS = "proposals"
BOX_POOL = "RoIAlign box"
BOX_HEAD = "bbox head"
MASK_FORWARD = "mask forward"
MASK_POST = "mask post-processing"
KEYPOINT_FORWARD = "keypoint forward"
KEYPOINT_POST = "keypoint post-processing"
HEAD = "head"
NETWORK = "network"
POST = "post-processing"
REST = "the rest"

STAGES = (
    PREPROCESSING,
    BACKBONE,
    RPN_HEAD,
    PROPOSALS,
    BOX_POOL,
    BOX_HEAD,
    MASK_FORWARD,
    MASK_POST,
    KEYPOINT_FORWARD,
    KEYPOINT_POST,
    HEAD,
    NETWORK,
    POST,
    REST,
)
"""All of them, in the order in which a run comes to them."""

ROI_HEAD = "roi_head"
IN_ROI_HEAD = frozenset(
    {BOX_POOL, BOX_HEAD, MASK_FORWARD, MASK_POST, KEYPOINT_FORWARD, KEYPOINT_POST}
)
"""The stages that together are called the RoI head."""

OF_OPERATORS: Mapping[str, str] = {
    "rpn_proposals": PROPOSALS,
    "roi_align": BOX_POOL,
    "roi_detections": BOX_HEAD,
    "mask_select": MASK_POST,
    "paste_masks": MASK_POST,
    "keypoints": KEYPOINT_POST,
    "retinanet_detections": POST,
    "fcos_detections": POST,
    "ssd_detections": POST,
    "yolo_detections": POST,
}
"""The stage that each of the operators is, by its name."""

READ_BY: Mapping[str, str] = {
    "roi_align": BACKBONE,
    "roi_align_chunk": BACKBONE,
    "rpn_proposals": RPN_HEAD,
    "roi_detections": BOX_HEAD,
    "mask_select": MASK_FORWARD,
    "keypoints": KEYPOINT_FORWARD,
    "retinanet_detections": HEAD,
    "fcos_detections": HEAD,
    "ssd_detections": HEAD,
    "yolo_detections": NETWORK,
}
"""The stage of what is computed for an operator to read, by the operator's name; what several
read is of the first."""
