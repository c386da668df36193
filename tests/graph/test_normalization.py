"""Normalizations between convolutions stay in the blocked layout, and are what torch computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

TOLERANCE = 1e-5
# Groups that are several blocks, one, and parts of one; groups across the bounds of blocks; all
# channels in one; channels that fill no block.
SHAPES = ((64, 2), (16, 1), (64, 8), (32, 8), (40, 4), (48, 1), (21, 3), (21, 7), (6, 2))


def _between(normalization: nn.Module, channels: int) -> nn.Module:
    for parameter in normalization.parameters():
        nn.init.normal_(parameter)
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), normalization, nn.ReLU(), nn.Conv2d(channels, 8, 1)
    )


@pytest.mark.parametrize(("channels", "groups"), SHAPES)
@pytest.mark.parametrize("affine", [True, False])
def test_groups_of_any_size_stay_blocked(
    channels: int, groups: int, affine: bool, convert: Any
) -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(groups, channels, affine=affine)
    converted = convert(_between(norm, channels), (2, 3, 9, 7), lanes=16)
    assert max(converted.errors) < TOLERANCE
    # What is returned.
    assert converted.transforms == 1


@pytest.mark.parametrize("channels", [16, 24, 21])
@pytest.mark.parametrize("affine", [True, False])
def test_instances_stay_blocked(channels: int, affine: bool, convert: Any) -> None:
    torch.manual_seed(0)
    norm = nn.InstanceNorm2d(channels, affine=affine)
    converted = convert(_between(norm, channels), (2, 3, 9, 7), lanes=16)
    assert max(converted.errors) < TOLERANCE
    assert converted.transforms == 1


class OfRows(nn.Module):
    """As exporters write a group normalization in ONNX: instances of an image with a row a
    group."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 8, 1)
        self.groups = groups
        self.norm = nn.InstanceNorm1d(groups, affine=True)
        for parameter in self.norm.parameters():
            nn.init.normal_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x)
        rows = self.norm(x.reshape(x.shape[0], self.groups, -1))
        result: torch.Tensor = self.after(torch.relu(rows.reshape(x.shape)))
        return result


@pytest.mark.parametrize(("channels", "groups"), SHAPES)
def test_an_image_with_a_row_a_group_stays_one(channels: int, groups: int, convert: Any) -> None:
    torch.manual_seed(0)
    converted = convert(OfRows(channels, groups), (2, 3, 9, 7), lanes=16)
    assert max(converted.errors) < TOLERANCE
    assert converted.transforms == 1


class Styled(nn.Module):
    """Scales and shifts that are not known before a run."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 8, 1)

    def forward(self, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        normalized = nn.functional.group_norm(self.before(x), 4, scale, shift)
        result: torch.Tensor = self.after(normalized)
        return result


@pytest.mark.parametrize("channels", [32, 20])
def test_scales_may_be_inputs(channels: int, convert: Any) -> None:
    torch.manual_seed(0)
    converted = convert(Styled(channels), (2, 3, 9, 7), (channels,), (channels,), lanes=16)
    assert max(converted.errors) < TOLERANCE
    assert converted.transforms == 1


def test_signals_and_volumes_are_normalized_row_by_row(convert: Any) -> None:
    torch.manual_seed(0)
    signals = nn.Sequential(nn.Conv1d(3, 16, 3), nn.GroupNorm(4, 16), nn.Conv1d(16, 8, 1))
    assert max(convert(signals, (2, 3, 20), layout="NCHW").errors) < TOLERANCE
    volumes = nn.Sequential(nn.Conv3d(3, 16, 3), nn.InstanceNorm3d(16, affine=True))
    assert max(convert(volumes, (2, 3, 5, 6, 7), layout="NCHW").errors) < TOLERANCE


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NCHWc"])
def test_a_large_mean_costs_no_digits(layout: str, convert: Any) -> None:
    torch.manual_seed(0)
    model = _between(nn.GroupNorm(4, 32), 32)
    nn.init.constant_(model[0].bias, 1000.0)  # type: ignore[index]
    assert max(convert(model, (1, 3, 9, 7), layout=layout).errors) < 1e-3
