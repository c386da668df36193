"""Of numbers: searching, distances, running values, rare functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tunekit.torch_frontend.table import decomposes

_MEAN, _MAX = 1, 2
"""Modes of a bag of embeddings, beside sums."""

_SMALL = 64
"""Up to so many boundaries a value is compared with each; beyond, they are searched."""


@decomposes("bucketize.Tensor")
def _bucketize(
    self: Tensor, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    count = boundaries.shape[0]
    is_below = _is_below(right)
    if count <= _SMALL:
        places = is_below(boundaries, self.unsqueeze(-1)).sum(-1)
    else:
        places = _searched(count, lambda at: is_below(boundaries[at], self), self)
    result: Tensor = places.to(torch.int32 if out_int32 else torch.int64)
    return result


def _is_below(right: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Whether a boundary comes before a value; before NaN all do."""
    reaches = torch.gt if right else torch.ge
    return lambda boundary, value: torch.logical_not(reaches(boundary, value))


@decomposes("searchsorted.Tensor")
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
    is_below = _is_below(right)
    count = sorted_sequence.shape[-1]
    if count <= _SMALL:
        places = is_below(sorted_sequence.unsqueeze(-2), self.unsqueeze(-1)).sum(-1)
    else:
        places = _searched(count, lambda at: is_below(sorted_sequence.gather(-1, at), self), self)
    result: Tensor = places.to(torch.int32 if out_int32 else torch.int64)
    return result


@decomposes("searchsorted.Scalar")
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


@decomposes("_cdist_forward.default")
def _cdist(x1: Tensor, x2: Tensor, p: float, compute_mode: int | None) -> Tensor:
    if p == 2 and x1.shape[-2] * x2.shape[-2] * x1.shape[-1] > 1 << 16:
        # As torch does for many points: by a product. Rows of (|x|^2, 1, -2x) and (1, |y|^2, y).
        left, right = x1.square().sum(-1, keepdim=True), x2.square().sum(-1, keepdim=True)
        product = x1 @ x2.transpose(-1, -2)
        return (left + right.transpose(-1, -2) - 2 * product).clamp_min(0).sqrt()
    distance = (x1.unsqueeze(-2) - x2.unsqueeze(-3)).abs()
    return _norm(distance, p)


@decomposes("_pdist_forward.default")
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


@decomposes("masked_scatter.default")
def _masked_scatter(self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The n-th place that the mask chooses takes the n-th element of the source."""
    mask = mask.expand(self.shape)
    order = mask.reshape(-1).to(torch.int64).cumsum(0) - 1
    taken = source.reshape(-1)[order.clamp(0, source.numel() - 1)]
    return torch.where(mask, taken.view(self.shape), self)


@decomposes("cummax.default")
def _cummax(self: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _running(self, dim, torch.ge)


@decomposes("cummin.default")
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


@decomposes("logcumsumexp.default")
def _logcumsumexp(self: Tensor, dim: int) -> Tensor:
    if not self.dim():
        return self.clone()
    values, reach = self.movedim(dim, -1), 1
    while reach < self.shape[dim]:
        both = torch.logaddexp(values[..., reach:], values[..., :-reach])
        values = torch.cat([values[..., :reach], both], -1)
        reach *= 2
    return values.movedim(-1, dim)


@decomposes("logaddexp.default")
def _logaddexp(self: Tensor, other: Tensor) -> Tensor:
    largest = torch.maximum(self, other)
    difference = (self - other).abs()
    return torch.where(self == other, self + math.log(2), largest + (-difference).exp().log1p())


@decomposes("frac.default")
def _frac(self: Tensor) -> Tensor:
    return self - self.trunc()


@decomposes("fmax.default")
def _fmax(self: Tensor, other: Tensor) -> Tensor:
    """Of a number and NaN the number."""
    return torch.where((self >= other) | (other != other), self, other)


@decomposes("fmin.default")
def _fmin(self: Tensor, other: Tensor) -> Tensor:
    return torch.where((self <= other) | (other != other), self, other)


@decomposes("hypot.default")
def _hypot(self: Tensor, other: Tensor) -> Tensor:
    """By the larger of the two, whose square may be more than there are numbers for."""
    first, second = self.abs(), other.abs()
    larger, smaller = torch.maximum(first, second), torch.minimum(first, second)
    share = smaller / torch.where(larger == 0, torch.ones_like(larger), larger)
    size = larger * (1 + share * share).sqrt()
    is_infinite = torch.isinf(first) | torch.isinf(second)
    return torch.where(is_infinite, torch.full_like(size, torch.inf), size)


@decomposes("copysign.Tensor", "copysign.Scalar")
def _copysign(self: Tensor, other: Any) -> Tensor:
    """The sign of a zero is not looked at: 0 and -0 count as positive."""
    size = self.abs() if self.is_floating_point() else self.abs().to(torch.get_default_dtype())
    return torch.where(torch.as_tensor(other < 0), -size, size)


@decomposes("heaviside.default")
def _heaviside(self: Tensor, values: Tensor) -> Tensor:
    return torch.where(self == 0, values, (self > 0).to(self.dtype))


@decomposes("diagonal_scatter.default")
def _diagonal_scatter(
    self: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    numbers = torch.arange(self.numel()).view(self.shape).diagonal(offset, dim1, dim2)
    return _put(self, numbers, src)


@decomposes("_trilinear.default")
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


@decomposes("histc.default")
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


@decomposes("_embedding_bag.default", "_embedding_bag_forward_only.default")
def _embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums, means or maxima of rows, bag by bag; what only gradients need is left empty."""
    places = torch.arange(indices.shape[0])
    ends = torch.cat([offsets[1:], torch.full_like(offsets[:1], indices.shape[0])])
    if include_last_offset:
        offsets, ends = offsets[:-1], offsets[1:]
    member = (offsets[:, None] <= places) & (places < ends[:, None])
    if padding_idx >= 0:
        member = member & (indices != padding_idx)
    rows = weight[indices]
    counts = member.sum(1)
    if mode == _MAX:
        chosen = torch.where(member[:, :, None], rows, -math.inf).amax(1)
        result = torch.where((counts > 0)[:, None], chosen, 0)
    else:
        if per_sample_weights is not None:
            rows = rows * per_sample_weights[:, None]
        result = member.to(rows.dtype) @ rows
        if mode == _MEAN:
            result = result / counts.clamp_min(1)[:, None]
    return result, torch.zeros_like(indices), counts, torch.zeros_like(counts)


@decomposes("put.default")
def _put(self: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    flat = self.reshape(-1).index_put((index.reshape(-1),), source.reshape(-1), accumulate)
    return flat.view(self.shape)


@decomposes("prims.as_strided_scatter.default")
def _as_strided_scatter(
    self: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int
) -> Tensor:
    numbers = torch.arange(self.numel()).as_strided(size, stride, storage_offset)
    return _put(self, numbers, src)


@decomposes("index_reduce.default")
def _index_reduce(
    self: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    shape = [1] * source.dim()
    shape[dim] = -1
    places = index.view(shape).expand(source.shape)
    return self.scatter_reduce(dim, places, source, reduce, include_self=include_self)


@decomposes("rrelu.default")
def _rrelu(
    self: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The slope is drawn in training only, which no import can be compared with."""
    return torch.nn.functional.leaky_relu(self, (lower + upper) / 2)


@decomposes("nonzero_static.default")
def _nonzero_static(self: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """Each place that is not zero goes to the row of its number among them."""
    chosen = (self != 0).reshape(-1)
    row = chosen.to(torch.int64).cumsum(0) - 1
    # What is not chosen, or is too many, goes to a row that is cut off.
    row = torch.where(chosen & (row < size), row, size)
    grid = [torch.arange(extent) for extent in self.shape]
    places = torch.stack([part.reshape(-1) for part in torch.meshgrid(grid, indexing="ij")], 1)
    table = torch.full((size + 1, self.dim()), fill_value, dtype=torch.int64)
    return table.index_put((row,), places)[:size]
