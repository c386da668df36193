from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx_nodes import Node, differences

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.standard_normal((2, 3, 6, 7)).astype("float32")
# Some places far outside.
GRID = (RANDOM.standard_normal((2, 4, 5, 2)) * 1.2).astype("float32")
PADDINGS = ("zeros", "border", "reflection")


@pytest.mark.parametrize(
    ("opset", "linear", "cubic"), [(16, "bilinear", "bicubic"), (20, "linear", "cubic")]
)
def test_grids_are_sampled_as_by_onnxruntime(opset: int, linear: str, cubic: str) -> None:
    nodes = [
        Node(
            "GridSample",
            [IMAGE, GRID],
            known=0,
            attributes={"mode": mode, "padding_mode": padding, "align_corners": corners},
        )
        for mode, padding, corners in itertools.product(
            (linear, "nearest", cubic), PADDINGS, (0, 1)
        )
    ]
    if opset == 20:
        volume = RANDOM.standard_normal((1, 2, 4, 5, 6)).astype("float32")
        grid = RANDOM.standard_normal((1, 3, 2, 4, 3)).astype("float32")
        nodes += [
            Node(
                "GridSample",
                [volume, grid],
                known=0,
                attributes={"mode": mode, "padding_mode": padding, "align_corners": 1},
            )
            for mode, padding in itertools.product((linear, "nearest"), PADDINGS)
        ]
    assert differences(nodes, opset) == []


def test_regions_patches_and_affine_grids_are_those_of_onnxruntime() -> None:
    corners = RANDOM.uniform(0, 12, (5, 2, 2)).astype("float32")
    regions = np.concatenate([corners.min(1), corners.max(1) + 1], 1)
    images = np.array([0, 1, 0, 1, 1])
    size = {"output_height": 2, "output_width": 3, "spatial_scale": 0.5}
    nodes = [
        Node("RoiAlign", [IMAGE, regions, images], known=0, attributes={**size, **more})
        for more in (
            {"sampling_ratio": 2},
            {"sampling_ratio": 0},
            {"sampling_ratio": 2, "coordinate_transformation_mode": "output_half_pixel"},
            {"sampling_ratio": 2, "mode": "max"},
        )
    ]
    pooled = np.concatenate([images[:, None].astype("float32"), regions], 1)
    pooling = {"pooled_shape": [2, 2], "spatial_scale": 0.5}
    nodes.append(Node("MaxRoiPool", [IMAGE, pooled], known=0, attributes=pooling))
    columns = RANDOM.standard_normal((1, 3 * 2 * 3, 4 * 3)).astype("float32")
    sizes, kernel = np.array([5, 6]), np.array([2, 3])
    nodes.append(Node("Col2Im", [columns[:, :, :12], np.array([5, 5]), np.array([2, 3])]))
    columns = RANDOM.standard_normal((1, 18, 9)).astype("float32")
    pads = {"pads": [0, 1, 1, 0], "strides": [2, 2], "dilations": [1, 1]}
    nodes.append(Node("Col2Im", [columns, sizes, kernel], attributes=pads))
    theta = RANDOM.standard_normal((2, 2, 3)).astype("float32")
    for corners_count in (0, 1):
        attributes = {"align_corners": corners_count}
        nodes.append(Node("AffineGrid", [theta, np.array([2, 3, 4, 5])], attributes=attributes))
    assert differences(nodes, 20) == []


def test_deformable_convolutions_are_those_of_onnxruntime() -> None:
    image = RANDOM.standard_normal((2, 4, 7, 6)).astype("float32")
    nodes = []
    for group, offset_group, masked in ((1, 1, False), (1, 2, True), (2, 1, True)):
        weights, bias = (
            RANDOM.standard_normal(shape).astype("float32")
            for shape in ((6, 4 // group, 3, 3), (6,))
        )
        offsets = RANDOM.standard_normal((2, offset_group * 18, 4, 3)).astype("float32")
        mask = RANDOM.standard_normal((2, offset_group * 9, 4, 3)).astype("float32")
        attributes = {"pads": [1] * 4, "strides": [2, 2], "group": group}
        inputs = [image, weights, offsets, bias, *([mask] if masked else [])]
        attributes["offset_group"] = offset_group
        nodes.append(Node("DeformConv", inputs, known=0, attributes=attributes))
    assert differences(nodes, 19) == []
