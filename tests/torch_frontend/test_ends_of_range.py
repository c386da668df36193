"""Functions where their formulas end: large and tiny numbers, empty counts, part of an axis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_modules import errors_of, wrong_of

from tunekit.errors import ImportFailed
from tunekit.models.sources.torch_model import TorchModel, Weights
from tunekit.models.spec import TensorSpec

INF, NAN = np.inf, np.nan
INPUTS = {
    "left": np.array([5, -5, 5, -5, 1e8, 1, -1, 1, 0, INF, 7.5, 1, -7.5, 0.3], np.float32),
    "right": np.array(
        [INF, INF, -INF, -INF, 0.7, 0.1, 0.1, -0.1, -3, 2, -2, 0, 2.5, 0.1], np.float32
    ),
    "tiny": np.array([1e-6, -1e-6, 3e-8, 1e-4, -1e-4, 1e-10], np.float32),
    "large": np.array([1e10, -1e10, 2e19, -3e38, INF, 1e9, 3.0], np.float32),
    "legs": np.array([3e20, 4e20, 1e-25, 2e-25, INF, NAN, 0, 0], np.float32),
    "tails": np.array([0, 1, 4, 9, -4], np.float32),
    "pictures": np.arange(16, dtype=np.float32).reshape(1, 2, 1, 8),
    "bytes": np.array([[0, 0, 0], [255, 255, 255], [0, 5, 255]], np.uint8),
    "least": np.full((2, 3), -128, np.int8),
    "numbers": np.array([1, 1, 1, -8, -8, 5], np.int64),
    "places": np.array([63, 64, -1, 70, 2, 1], np.int64),
    "data": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "rows": np.array([[[1, 0], [0, 1]]], np.int64),
    "columns": np.array([[[3]], [[2]]], np.int64),
    "below": np.full((1, 1, 4, 4), -INF, np.float32),
}
Given = dict[str, torch.Tensor]
FORMS: dict[str, Callable[[Given], torch.Tensor]] = {
    "fmod": lambda x: torch.fmod(x["left"], x["right"]),
    "remainder": lambda x: torch.remainder(x["left"], x["right"]),
    "remainder_number": lambda x: x["left"] % 0.1,
    "floor_divide": lambda x: torch.floor_divide(x["left"], x["right"]),
    "div_floor": lambda x: torch.div(x["left"], x["right"], rounding_mode="floor"),
    "div_floor_number": lambda x: x["left"] // 0.1,
    # Of 1: else the largest would decide how exact the others have to be.
    "log1p": lambda x: torch.log1p(x["tiny"]) / x["tiny"],
    "softplus": lambda x: F.softplus(-15 + x["tiny"]) * 1e6,
    "expm1": lambda x: torch.expm1(x["tiny"]) / x["tiny"],
    "atanh": lambda x: torch.atanh(x["tiny"]) / x["tiny"],
    "asinh_of_tiny": lambda x: torch.asinh(x["tiny"]) / x["tiny"],
    "asinh": lambda x: torch.asinh(x["large"]),
    "erfc": lambda x: torch.log(torch.special.erfc(x["tails"])),
    "hypot": lambda x: torch.log(torch.hypot(x["legs"], x["legs"].flip(0))),
    "hypot_of_two": lambda x: torch.log(torch.hypot(x["legs"][::2], x["legs"][1::2])),
    "bucketize": lambda x: torch.bucketize(x["legs"], torch.tensor([0.0, 1.0])),
    "searchsorted": lambda x: torch.searchsorted(torch.tensor([0.0, 1.0]), x["legs"], right=True),
    "sign": lambda x: torch.sign(x["bytes"]),
    "argmax": lambda x: x["bytes"].argmax(1),
    "argmin": lambda x: x["bytes"].argmin(1),
    "argmax_of_least": lambda x: x["least"].argmax(1),
    "max_of_least": lambda x: x["least"].max(1)[1],
    "shift_left": lambda x: x["numbers"] << x["places"],
    "shift_right": lambda x: x["numbers"] >> x["places"],
    "shift_left_number": lambda x: x["numbers"] << 64,
    "shift_right_number": lambda x: x["numbers"] >> 64,
    "clamp_crossed": lambda x: x["left"].clamp(1.0, 0.0),
    "std_of_one": lambda x: x["pictures"].std(0),
    "var_of_fewer": lambda x: x["left"][:2].var(0, correction=3),
    "resize_to_one": lambda x: F.interpolate(
        x["pictures"], size=(1, 16), mode="bilinear", align_corners=True
    ),
    "resize_nearest_bytes": lambda x: F.interpolate(x["bytes"][None, None], scale_factor=2),
    "strided_turned": lambda x: x["data"][0].t().as_strided((2, 2), (1, 2)),
    "strided_part": lambda x: x["data"][1].as_strided((2, 3), (4, 1), 13),
    "scatter_part": lambda x: torch.zeros(2, 3, 4).scatter(0, x["rows"], x["data"]),
    "scatter_part_of_last": lambda x: x["data"].scatter_add(2, x["columns"], x["data"] + 100),
    "scatter_part_of_middle": lambda x: x["data"].scatter(1, x["rows"], -x["data"]),
    "max_pool_places": lambda x: F.max_pool2d(x["below"], 3, 2, 1, return_indices=True)[1],
}


class Forms(nn.Module):
    def forward(self, *given: torch.Tensor) -> dict[str, torch.Tensor]:
        named = dict(zip(INPUTS, given, strict=True))
        return {name: form(named) for name, form in FORMS.items()}


def test_numbers_at_the_ends_are_what_torch_makes_of_them(tmp_path: Path) -> None:
    errors = errors_of(Forms(), INPUTS, tmp_path)
    assert len(errors) == len(FORMS)
    assert wrong_of(errors, 2e-6) == {}


class Resized(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return F.interpolate(image, size=(2, 2), mode="bicubic")


class BetweenElements(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[0, 0, :, ::2].as_strided((3, 4), (4, 1), 0) * 2


@pytest.mark.parametrize(
    ("module", "dtype", "reason"),
    [
        (Resized, "uint8", "interpolation of uint8, which torch rounds between its steps"),
        (BetweenElements, "float32", "it reads memory between the elements of a view"),
    ],
)
def test_what_would_only_be_nearly_right_is_refused(
    module: type[nn.Module], dtype: str, reason: str
) -> None:
    inputs = [TensorSpec("image", (1, 1, 4, 4), dtype)]
    model = TorchModel("module", "digest", 0, inputs, module, Weights(random=False))
    with pytest.raises(ImportFailed, match=reason):
        model.to_relax()
