from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx_nodes import Node, differences

IMAGE = np.random.default_rng(0).standard_normal((1, 2, 9, 10)).astype("float32")
REGION = np.array([0, 0, -0.2, 0.3, 1, 1, 0.7, 1.2], "float32")
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "asymmetric",
    "align_corners",
    "tf_crop_and_resize",
)


def resize(*sizes: float, data: Any = IMAGE, **attributes: Any) -> Node:
    """By scales, or by sizes where they are integers."""
    scales = np.array([1, 1, *sizes][: data.ndim], "float32")
    second: list[Any] = [scales]
    if all(isinstance(size, int) for size in sizes):
        second = [None, np.array([*data.shape[: data.ndim - len(sizes)], *sizes], "int64")]
    return Node("Resize", [data, REGION, *second], attributes=attributes)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_every_choice_of_coordinates_gives_what_onnxruntime_gives(mode: str) -> None:
    nodes = [
        resize(*sizes, mode=mode, coordinate_transformation_mode=coordinates)
        for coordinates, sizes in itertools.product(COORDINATES, ((1.7, 2.5), (0.6, 0.37), (13, 4)))
    ]
    assert differences(nodes, 19) == []


def test_nearest_elements_filters_and_chosen_axes_are_as_in_onnxruntime() -> None:
    kinds = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    nearest = [
        resize(2.5, 0.7, mode="nearest", nearest_mode=kind, coordinate_transformation_mode=place)
        for kind, place in itertools.product(kinds, ("half_pixel", "asymmetric"))
    ]
    filters = [
        resize(*scales, mode=mode, antialias=1)
        for mode, scales in itertools.product(("linear", "cubic"), ((0.5, 0.3), (1.4, 0.7)))
    ]
    outside = resize(0.6, 1.9, mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5)
    part = np.array([20, 12], "int64")
    some = [
        Node("Resize", [IMAGE, None, None, part], attributes={"axes": [3, 2], **more})
        for more in (
            {"mode": "linear"},
            {"keep_aspect_ratio_policy": "not_larger"},
            {"keep_aspect_ratio_policy": "not_smaller", "mode": "linear"},
        )
    ]
    assert differences([*nearest, *filters, outside, *some], 19) == []


def test_one_and_three_dimensions_and_other_dtypes_are_resized() -> None:
    random = np.random.default_rng(1)
    line, volume = (
        random.standard_normal(s).astype("float32") for s in ((1, 2, 9), (1, 2, 5, 6, 7))
    )
    bytes_ = random.integers(0, 200, (1, 2, 9, 10)).astype("uint8")
    nodes = [
        Node("Resize", [data, None, np.array(scales, "float32")], attributes={"mode": mode})
        for mode, (data, scales) in itertools.product(
            ("nearest", "linear"),
            (
                (line, [1, 1, 1.5]),
                (volume, [1, 1, 1.5, 2, 0.5]),
                (bytes_, [1, 1, 2, 3]),
                (IMAGE.astype("float16"), [1, 1, 1.5, 2]),
            ),
        )
    ]
    assert differences(nodes, 18, tolerance=1e-3, steps=1) == []


@pytest.mark.parametrize("opset", [9, 10])
def test_the_older_operators_take_the_elements_of_onnxruntime(opset: int) -> None:
    operator = "Upsample" if opset < 10 else "Resize"
    nodes = [
        Node(operator, [IMAGE, np.array([1, 1, *scales], "float32")], attributes={"mode": mode})
        for mode, scales in itertools.product(
            ("nearest", "linear"), ((2, 2), (1.7, 2.5), *([(0.6, 0.5)] if opset > 9 else []))
        )
    ]
    assert differences(nodes, opset) == []


def test_whole_scales_are_the_operator_that_keeps_the_layout() -> None:
    from onnx_nodes import model_of

    from tunekit.onnx_frontend import proto_to_relax

    nodes = [
        resize(2.0, 2.0, mode="nearest"),
        resize(2.0, 2.0, mode="linear"),
        resize(18, 30, mode="linear", coordinate_transformation_mode="align_corners"),
    ]
    model, feed = model_of(nodes, 13)
    text = str(proto_to_relax(model, list(feed), "nodes"))
    assert text.count("image.resize2d(") == len(nodes)


def test_integers_are_cut_where_onnxruntime_cuts_them() -> None:
    """To the last bit: in single precision, and for bytes with channels last in integers."""
    places = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
    nodes = []
    for dtype, (height, width) in itertools.product(
        ("uint8", "int8", "int32"), ((30, 41), (7, 9), (26, 34), (13, 20), (20, 17))
    ):
        limits = (0, 256) if dtype == "uint8" else (-128, 128)
        data = np.random.default_rng(0).integers(*limits, (1, 3, 13, 17)).astype(dtype)
        for coordinates in places:
            how = {"mode": "linear", "coordinate_transformation_mode": coordinates}
            for image, size in (
                (data, [1, 3, height, width]),
                (np.ascontiguousarray(data.transpose(0, 2, 3, 1)), [1, height, width, 3]),
            ):
                given = [image, None, None, np.array(size, "int64")]
                nodes.append(Node("Resize", given, attributes=how))
    assert differences(nodes, 19) == []
