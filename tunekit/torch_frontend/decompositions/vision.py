"""Of images: pooling to a size, sampling between pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tunekit.torch_frontend.table import decomposes


@decomposes("adaptive_max_pool1d.default")
def _adaptive_max_pool1d(self: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    values, places = _adaptive_max(self.unsqueeze(-2), [1, *output_size])
    return values.squeeze(-2), places.squeeze(-2)


@decomposes("adaptive_max_pool2d.default", "adaptive_max_pool3d.default")
def _adaptive_max(self: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Windows of torch's bounds, each as long as the longest: what is too much is read twice."""
    rank = len(output_size)
    sizes = self.shape[-rank:]
    numbers = torch.zeros((), dtype=torch.int64)
    for axis, (size, count) in enumerate(zip(sizes, output_size, strict=True)):
        first = torch.arange(count) * size // count
        last = -(-(torch.arange(count) + 1) * size // count)
        width = max(
            -(-(place + 1) * size // count) - place * size // count for place in range(count)
        )
        places = torch.minimum(first[:, None] + torch.arange(width), last[:, None] - 1)
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = count, width
        numbers = numbers * size + places.reshape(shape)
    leading = self.shape[:-rank]
    windows = numbers.reshape(math.prod(output_size), -1)
    values, chosen = self.reshape(*leading, -1)[..., windows].max(-1)
    flat = windows.reshape(-1)
    row = torch.arange(windows.shape[0]) * windows.shape[1]
    places = flat[row + chosen]
    return values.view(*leading, *output_size), places.view(*leading, *output_size)


@decomposes("grid_sampler_3d.default")
def _grid_sampler_3d(
    input: Tensor,  # noqa: A002
    grid: Tensor,
    interpolation_mode: int,
    padding_mode: int,
    align_corners: bool,
) -> Tensor:
    sizes = input.shape[2:]
    # The grid's last axis has x, y, z.
    places = [
        _unnormalized(grid[..., 2 - axis], size, padding_mode, align_corners)
        for axis, size in enumerate(sizes)
    ]
    if interpolation_mode == 1:
        return _at(input, [place.round() for place in places])
    lows = [place.floor() for place in places]
    total = torch.zeros((), dtype=input.dtype)
    for corner in range(8):
        bits = [(corner >> axis) & 1 for axis in range(3)]
        corners = [low + bit for low, bit in zip(lows, bits, strict=True)]
        weight = torch.ones((), dtype=input.dtype)
        for place, low, bit in zip(places, lows, bits, strict=True):
            weight = weight * ((place - low) if bit else (1 - (place - low)))
        total = total + _at(input, corners) * weight.unsqueeze(1)
    return total


def _unnormalized(place: Tensor, size: int, padding_mode: int, align_corners: bool) -> Tensor:
    """A coordinate from -1 to 1 as one of elements; outside ones as the padding wants them."""
    if align_corners:
        place = (place + 1) / 2 * (size - 1)
        low, span = 0.0, float(size - 1)
    else:
        place = ((place + 1) * size - 1) / 2
        low, span = -0.5, float(size)
    if padding_mode == 2:
        if span == 0:
            place = torch.zeros_like(place)
        else:
            distance = (place - low).abs()
            flips = (distance / span).floor()
            rest = distance - flips * span
            place = torch.where(flips.remainder(2) == 0, rest + low, span - rest + low)
    return place.clamp(0, size - 1) if padding_mode in (1, 2) else place


def _at(data: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Elements (n, c, ...) at whole coordinates, 0 outside."""
    inside = torch.ones((), dtype=torch.bool)
    flat = torch.zeros((), dtype=torch.int64)
    for place, size in zip(places, data.shape[2:], strict=True):
        inside = inside & (place >= 0) & (place <= size - 1)
        flat = flat * size + place.clamp(0, size - 1).to(torch.int64)
    batch, channels = data.shape[:2]
    index = flat.reshape(batch, 1, -1).expand(batch, channels, -1)
    read = data.reshape(batch, channels, -1).gather(2, index)
    read = read.view(batch, channels, *places[0].shape[1:])
    return read * inside.unsqueeze(1).to(read.dtype)


@decomposes("torchvision.roi_align.default")
def _roi_align(*arguments: Any) -> Any:
    from torchvision.ops.roi_align import _roi_align as in_plain_torch

    return in_plain_torch(*arguments)


@decomposes("torchvision.deform_conv2d.default")
def _deform_conv2d(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Tensor:
    """Each element of the kernel reads between the pixels; then a product as in im2col."""
    batch, channels, _, _ = input.shape
    outputs, inner, kernel_h, kernel_w = weight.shape
    rows, columns = offset.shape[2:]
    taps = kernel_h * kernel_w
    y, x = offset.view(batch, offset_groups, taps, 2, rows, columns).unbind(3)
    tap = torch.arange(taps)
    first_y = torch.arange(rows) * stride_h - pad_h
    first_x = torch.arange(columns) * stride_w - pad_w
    y = y + (tap // kernel_w * dilation_h).view(-1, 1, 1) + first_y.view(-1, 1)
    x = x + (tap % kernel_w * dilation_w).view(-1, 1, 1) + first_x
    images = input.reshape(batch * offset_groups, channels // offset_groups, *input.shape[2:])
    shape = (batch * offset_groups, taps * rows, columns)
    read = _between(images, y.reshape(shape), x.reshape(shape))
    read = read.view(batch, offset_groups, channels // offset_groups, taps, rows, columns)
    if use_mask:
        read = read * mask.view(batch, offset_groups, 1, taps, rows, columns)
    patches = read.view(batch, groups, inner * taps, rows * columns)
    kernels = weight.view(groups, outputs // groups, inner * taps)
    result = (kernels @ patches).view(batch, outputs, rows, columns)
    return result + bias.view(-1, 1, 1)


def _between(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear reading of (n, c, h, w) at (n, a, b) coordinates of pixels, 0 outside."""
    low_y, low_x = y.floor(), x.floor()
    total = torch.zeros((), dtype=images.dtype)
    for at_y, weight_y in ((low_y, 1 - (y - low_y)), (low_y + 1, y - low_y)):
        for at_x, weight_x in ((low_x, 1 - (x - low_x)), (low_x + 1, x - low_x)):
            total = total + _at(images, (at_y, at_x)) * (weight_y * weight_x).unsqueeze(1)
    return total
