"""Which operators are written out in fewer ones before they are converted.

torch knows how to decompose most of its operators. Those that Relax has as one stay whole; for
some that torch keeps whole there is a decomposition here, in plain torch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.export import ExportedProgram

from tunekit.frontends.torch.table import COMPLEX_CONVERTERS, CONVERTERS

aten = torch.ops.aten

_SMALL = 64
"""Up to so many boundaries a value is compared with each; beyond, they are searched."""

Decomposition = Callable[..., Any]
Registered = TypeVar("Registered", bound=Decomposition)
_OWN: dict[Any, Decomposition] = {}


def decomposed(program: ExportedProgram) -> ExportedProgram:
    """The program in operators that have converters, as far as there are decompositions.

    An operator with a converter stays whole: what it would be decomposed into is harder to lay
    out and to schedule (silu as two operators, a pooling as a mean).
    """
    # torch's own table of operators, which carries no types.
    table: Any = torch.export.default_decompositions()
    for operator, decomposition in decomposition_table.items():
        if operator not in table and isinstance(operator, torch._ops.OpOverload):
            table[operator] = decomposition
    for operator in list(table.keys()):
        name = str(operator).removeprefix("aten.")
        if name in CONVERTERS or name in COMPLEX_CONVERTERS:
            table.pop(operator)
    _with_torchvision()
    table.update(_OWN)
    result: ExportedProgram = program.run_decompositions(table)
    return result


def _decomposes(*operators: Any) -> Callable[[Registered], Registered]:
    """Registers a function as the decomposition of these operators."""

    def register(function: Registered) -> Registered:
        _OWN.update(dict.fromkeys(operators, function))
        return function

    return register


@_decomposes(aten.bucketize.Tensor)
def _bucketize(
    self: Tensor, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    count = boundaries.shape[0]
    is_below = torch.le if right else torch.lt
    if count <= _SMALL:
        places = is_below(boundaries, self.unsqueeze(-1)).sum(-1)
    else:
        places = _searched(count, lambda at: is_below(boundaries[at], self), self)
    result: Tensor = places.to(torch.int32 if out_int32 else torch.int64)
    return result


@_decomposes(aten.searchsorted.Tensor)
def _searchsorted(
    sorted_sequence: Tensor,
    self: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    right = right or side == "right"
    if sorter is not None:
        sorted_sequence = sorted_sequence.gather(-1, sorter)
    if sorted_sequence.dim() == 1:
        return _bucketize(self, sorted_sequence, out_int32=out_int32, right=right)
    is_below = torch.le if right else torch.lt
    count = sorted_sequence.shape[-1]
    if count <= _SMALL:
        places = is_below(sorted_sequence.unsqueeze(-2), self.unsqueeze(-1)).sum(-1)
    else:
        places = _searched(count, lambda at: is_below(sorted_sequence.gather(-1, at), self), self)
    result: Tensor = places.to(torch.int32 if out_int32 else torch.int64)
    return result


@_decomposes(aten.searchsorted.Scalar)
def _searchsorted_scalar(sorted_sequence: Tensor, self: Any, **options: Any) -> Tensor:
    value = torch.full((), self, dtype=sorted_sequence.dtype)
    return _searchsorted(sorted_sequence, value.view(1), **options).view(())


def _searched(count: int, is_below: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """How many of a row's elements are below, by halving."""
    places = torch.zeros_like(like, dtype=torch.int64)
    step = 1 << (count.bit_length() - 1)
    while step:
        further = places + step
        is_right = (further <= count) & is_below((further - 1).clamp(0, count - 1))
        places = torch.where(is_right, further, places)
        step //= 2
    return places


@_decomposes(aten._cdist_forward.default)
def _cdist(x1: Tensor, x2: Tensor, p: float, compute_mode: int | None) -> Tensor:
    if p == 2 and x1.shape[-2] * x2.shape[-2] * x1.shape[-1] > 1 << 16:
        # As torch does for many points: by a product. Rows of (|x|^2, 1, -2x) and (1, |y|^2, y).
        left, right = x1.square().sum(-1, keepdim=True), x2.square().sum(-1, keepdim=True)
        product = x1 @ x2.transpose(-1, -2)
        return (left + right.transpose(-1, -2) - 2 * product).clamp_min(0).sqrt()
    distance = (x1.unsqueeze(-2) - x2.unsqueeze(-3)).abs()
    return _norm(distance, p)


@_decomposes(aten._pdist_forward.default)
def _pdist(self: Tensor, p: float = 2) -> Tensor:
    first, second = torch.triu_indices(self.shape[0], self.shape[0], 1)
    return _norm((self[first] - self[second]).abs(), p)


def _norm(distance: Tensor, p: float) -> Tensor:
    if p == 0:
        return (distance != 0).to(distance.dtype).sum(-1)
    if p == 1:
        return distance.sum(-1)
    if p == 2:
        return distance.square().sum(-1).sqrt()
    if math.isinf(p):
        return distance.amax(-1)
    return distance.pow(p).sum(-1).pow(1 / p)


@_decomposes(aten.masked_scatter.default)
def _masked_scatter(self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The n-th place that the mask chooses takes the n-th element of the source."""
    mask = mask.expand(self.shape)
    order = mask.reshape(-1).to(torch.int64).cumsum(0) - 1
    taken = source.reshape(-1)[order.clamp(0, source.numel() - 1)]
    return torch.where(mask, taken.view(self.shape), self)


@_decomposes(aten.adaptive_max_pool1d.default)
def _adaptive_max_pool1d(self: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    values, places = _adaptive_max(self.unsqueeze(-2), [1, *output_size])
    return values.squeeze(-2), places.squeeze(-2)


@_decomposes(aten.adaptive_max_pool2d.default, aten.adaptive_max_pool3d.default)
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


@_decomposes(aten.grid_sampler_3d.default)
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


@_decomposes(aten.cummax.default)
def _cummax(self: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _running(self, dim, torch.ge)


@_decomposes(aten.cummin.default)
def _cummin(self: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _running(self, dim, torch.le)


def _running(self: Tensor, dim: int, wins: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """The extreme up to each place, by doubling the reach; the last of equal ones."""
    if not self.dim():
        return self.clone(), torch.zeros_like(self, dtype=torch.int64)
    size = self.shape[dim]
    values = self.movedim(dim, -1)
    places = torch.arange(size).expand(values.shape)
    reach = 1
    while reach < size:
        later = wins(values[..., reach:], values[..., :-reach])
        values, places = (
            torch.cat(
                [part[..., :reach], torch.where(later, part[..., reach:], part[..., :-reach])], -1
            )
            for part in (values, places)
        )
        reach *= 2
    return values.movedim(-1, dim), places.movedim(-1, dim)


@_decomposes(aten.logcumsumexp.default)
def _logcumsumexp(self: Tensor, dim: int) -> Tensor:
    if not self.dim():
        return self.clone()
    values, reach = self.movedim(dim, -1), 1
    while reach < self.shape[dim]:
        both = torch.logaddexp(values[..., reach:], values[..., :-reach])
        values = torch.cat([values[..., :reach], both], -1)
        reach *= 2
    return values.movedim(-1, dim)


@_decomposes(aten.logaddexp.default)
def _logaddexp(self: Tensor, other: Tensor) -> Tensor:
    largest = torch.maximum(self, other)
    difference = (self - other).abs()
    return torch.where(self == other, self + math.log(2), largest + (-difference).exp().log1p())


@_decomposes(aten.frac.default)
def _frac(self: Tensor) -> Tensor:
    return self - self.trunc()


@_decomposes(aten.fmax.default)
def _fmax(self: Tensor, other: Tensor) -> Tensor:
    """Of a number and NaN the number."""
    return torch.where((self >= other) | (other != other), self, other)


@_decomposes(aten.fmin.default)
def _fmin(self: Tensor, other: Tensor) -> Tensor:
    return torch.where((self <= other) | (other != other), self, other)


@_decomposes(aten.hypot.default)
def _hypot(self: Tensor, other: Tensor) -> Tensor:
    return (self * self + other * other).sqrt()


@_decomposes(aten.copysign.Tensor, aten.copysign.Scalar)
def _copysign(self: Tensor, other: Any) -> Tensor:
    """The sign of a zero is not looked at: 0 and -0 count as positive."""
    size = self.abs() if self.is_floating_point() else self.abs().to(torch.get_default_dtype())
    return torch.where(torch.as_tensor(other < 0), -size, size)


@_decomposes(aten.heaviside.default)
def _heaviside(self: Tensor, values: Tensor) -> Tensor:
    return torch.where(self == 0, values, (self > 0).to(self.dtype))


@_decomposes(aten.diagonal_scatter.default)
def _diagonal_scatter(
    self: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    numbers = torch.arange(self.numel()).view(self.shape).diagonal(offset, dim1, dim2)
    flat = self.reshape(-1).index_put((numbers.reshape(-1),), src.reshape(-1))
    return flat.view(self.shape)


@_decomposes(aten._trilinear.default)
def _trilinear(
    i1: Tensor,
    i2: Tensor,
    i3: Tensor,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    sumdim: Sequence[int],
    unroll_dim: int = 1,
) -> Tensor:
    for axis in expand1:
        i1 = i1.unsqueeze(axis)
    for axis in expand2:
        i2 = i2.unsqueeze(axis)
    for axis in expand3:
        i3 = i3.unsqueeze(axis)
    return (i1 * i2 * i3).sum(list(sumdim))


@_decomposes(aten.histc.default)
def _histc(self: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:  # noqa: A002
    low, high = torch.as_tensor(min, dtype=self.dtype), torch.as_tensor(max, dtype=self.dtype)
    if min == max == 0:
        low, high = self.min(), self.max()
        is_flat = low == high
        low, high = torch.where(is_flat, low - 1, low), torch.where(is_flat, high + 1, high)
    flat = self.reshape(-1)
    places = ((flat - low) / (high - low) * bins).floor().clamp(0, bins - 1)
    inside = (flat >= low) & (flat <= high)
    hits = (places.unsqueeze(-1) == torch.arange(bins)) & inside.unsqueeze(-1)
    return hits.to(self.dtype).sum(0)


def _torchvision() -> dict[Any, Decomposition]:
    """torchvision's operators, where it is installed and has registered them."""
    found = {}
    for name, function in (
        ("roi_align", _roi_align),
        ("deform_conv2d", _deform_conv2d),
    ):
        if hasattr(torch.ops.torchvision, name):
            found[getattr(torch.ops.torchvision, name).default] = function
    return found


def _roi_align(*arguments: Any) -> Any:
    from torchvision.ops.roi_align import _roi_align as in_plain_torch

    return in_plain_torch(*arguments)


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


@functools.cache
def _with_torchvision() -> None:
    _OWN.update(_torchvision())
