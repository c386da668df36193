"""What the levels of a feature pyramid show in boxes: RoIAlign, of all boxes or of a few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor
from torch.library import custom_op
from torchvision.ops.poolers import _multiscale_roi_align, initLevelMapper

from tunekit.detectors.operators.boxes import counted, padded
from tunekit.detectors.operators.chunks import chunk_chance, chunk_rows, chunk_slots
from tunekit.detectors.operators.glue import (
    ALL,
    LANES,
    Attributes,
    DetectorOperator,
    lines,
    number,
    structure,
    whole,
)
from tunekit.extern_kernels import ExternCode, KernelTensor, Phase, register
from tunekit.extern_kernels.resources import TASKS, Scratch, tasks_for


@custom_op("tunekit::roi_align", mutates_args=())
def roi_align(
    maps: list[Tensor],
    boxes: Tensor,
    count: Tensor,
    *,
    output_size: int,
    sampling_ratio: int,
    scales: list[float],
    canonical_scale: int,
    canonical_level: int,
) -> Tensor:
    """What maps show in boxes, as torchvision's `MultiScaleRoIAlign` has it.

    Args:
        maps: of each level, (1, C, H, W), the finest first.
        boxes: (N, 4), in pixels of the picture.
        count: how many of them there are, (1) int32.
        output_size: P, of the result.
        sampling_ratio: how many points are read in each direction for each value, at least 1.
        scales: of each level, its pixels for one of the picture.
        canonical_scale: the size of a box, in pixels, that is of the canonical level.
        canonical_level: that level; the finest one is minus the logarithm of its scale.

    Returns:
        (N, C, P, P), zeros behind the count.
    """
    found = boxes[: int(count)]
    pooled = _pooled(
        maps, found, output_size, sampling_ratio, scales, canonical_scale, canonical_level
    )
    return padded(pooled, len(boxes))


@roi_align.register_fake
def _(maps: list[Tensor], boxes: Tensor, count: Tensor, *, output_size: int, **_: object) -> Tensor:
    return maps[0].new_empty((boxes.shape[0], maps[0].shape[1], output_size, output_size))


@custom_op("tunekit::roi_align_chunk", mutates_args=())
def roi_align_chunk(
    maps: list[Tensor],
    boxes: Tensor,
    count: Tensor,
    *,
    chunk: int,
    expected_detections: int,
    output_size: int,
    sampling_ratio: int,
    scales: list[float],
    canonical_scale: int,
    canonical_level: int,
) -> tuple[Tensor, Tensor]:
    """What maps show in those boxes that are in one piece of `chunk_rows`.

    Args:
        maps: as of `roi_align`, like all that is not named here.
        boxes: (D, 4), in pixels of the picture.
        count: how many of them there are, (1) int32.
        chunk: the number of the piece.
        expected_detections: how many boxes there are on average; changes no result.
        output_size: P, of the result.
        sampling_ratio: how many points are read in each direction for each value.
        scales: of each level.
        canonical_scale: of the level mapper.
        canonical_level: of the level mapper.

    Returns:
        (rows of the piece, C, P, P), zeros where there is no box; and whether the piece is needed,
        (1) int32.
    """
    slots = chunk_slots(len(boxes), int(count), chunk)
    found = boxes[slots.start : slots.stop]
    pooled = _pooled(
        maps, found, output_size, sampling_ratio, scales, canonical_scale, canonical_level
    )
    return padded(pooled, chunk_rows(len(boxes))[chunk]), counted(int(len(slots) > 0))


@roi_align_chunk.register_fake
def _(
    maps: list[Tensor], boxes: Tensor, count: Tensor, *, chunk: int, output_size: int, **_: object
) -> tuple[Tensor, Tensor]:
    rows = chunk_rows(boxes.shape[0])[chunk]
    rois = maps[0].new_empty((rows, maps[0].shape[1], output_size, output_size))
    return rois, maps[0].new_empty((1,), dtype=torch.int32)


def level_range(scales: Sequence[float]) -> tuple[int, int]:
    """The finest and the coarsest level, as the level mapper counts them."""
    finest, coarsest = (-torch.tensor(scale).log2().item() for scale in (scales[0], scales[-1]))
    return int(finest), int(coarsest)


def _pooled(
    maps: list[Tensor],
    boxes: Tensor,
    size: int,
    sampling_ratio: int,
    scales: list[float],
    canonical_scale: int,
    canonical_level: int,
) -> Tensor:
    mapper = initLevelMapper(*level_range(scales), canonical_scale, canonical_level)
    pooled: Tensor = _multiscale_roi_align(
        maps, [boxes], (size, size), sampling_ratio, scales, mapper
    )
    return pooled


# As in `roi_align.h`.
MOST_BINS = 32
"""Of a side of what a box is pooled to."""
MOST_RATIO = 4
"""Points that are read in each direction for each of them."""


def _code(
    inputs: Sequence[KernelTensor], outputs: Sequence[KernelTensor], attributes: Attributes
) -> ExternCode:
    held = f"const int32_t start = 0, held = *in{len(inputs) - 1};"
    return _pooling(inputs, outputs[0], attributes, held)


def _chunk_code(
    inputs: Sequence[KernelTensor], outputs: Sequence[KernelTensor], attributes: Attributes
) -> ExternCode:
    limit, chunk = inputs[-2].shape[0], whole(attributes["chunk"])
    held = lines(
        "int32_t held;",
        f"const int32_t start = tkx_chunk({limit}, *in{len(inputs) - 1}, {chunk}, &held);",
        "if (task == 0) *out1 = held > 0;",
    )
    # Nobody reads the boxes of a piece that is not needed.
    code = _pooling(inputs, outputs[0], attributes, held, "if (held) ")
    expected = float(whole(attributes["expected_detections"]))
    return replace(code, switch=1, chance=chunk_chance(limit, expected, chunk))


def _pooling(
    inputs: Sequence[KernelTensor],
    output: KernelTensor,
    attributes: Attributes,
    held: str,
    needed: str = "",
) -> ExternCode:
    maps, boxes = inputs[:-2], f"in{len(inputs) - 2}"
    bins, ratio = whole(attributes["output_size"]), whole(attributes["sampling_ratio"])
    if bins > MOST_BINS or not 0 < ratio <= MOST_RATIO:
        raise ValueError(
            f"RoIAlign of {bins} bins and sampling ratio {ratio}: there are kernels of up to "
            f"{MOST_BINS} bins and of sampling ratios from 1 to {MOST_RATIO}"
        )
    scales = cast(Sequence[float], attributes["scales"])
    finest, coarsest = level_range(scales)
    # What lies side by side is read at once.
    together = max(LANES, output.block, *(tensor.block for tensor in maps))
    scratch = Scratch()
    copies = {}
    for index, tensor in enumerate(maps):
        if tensor.block % LANES:
            _, channels, height, width = tensor.shape
            padded_channels = -(-channels // LANES) * LANES
            copies[index] = scratch.array("float", padded_channels * height * width)
    rows, reads = output.shape[0], output.shape[0] * 2 * bins * 2 * ratio
    pyramid = lines(
        _maps("maps", maps, scales, copies),
        structure(
            "tkx_pyramid",
            "pyramid",
            maps="maps",
            levels=len(maps),
            channels=output.shape[1],
            together=together,
            bins=bins,
            ratio=ratio,
            finest=finest,
            coarsest=coarsest,
            canonical_level=attributes["canonical_level"],
            canonical_scale=number(attributes["canonical_scale"]),
        ),
    )
    readings = structure(
        "tkx_readings",
        "readings",
        level=scratch.array("int32_t", rows),
        taps=scratch.array("int32_t", 2 * rows),
        offsets=scratch.array("int32_t", reads),
        weights=scratch.array("float", reads),
        keys=scratch.array("uint32_t", rows),
        order=scratch.array("uint32_t", rows),
        spare=scratch.array("uint32_t", rows),
    )
    rois = structure("tkx_rois", "rois", data="out0", rows=rows, block=output.block)
    read = f"{needed}tkx_read_boxes(&pyramid, {boxes} + 4 * start, held, &readings, task, tasks);"
    pool = f"{needed}tkx_pool(&pyramid, &readings, held, &rois, task, tasks);"
    no_start = "(void)start;"
    phases = [
        Phase(lines(held, pyramid, readings, read), tasks_for(rows)),
        Phase(lines(held, no_start, readings, "tkx_order_boxes(&readings, held);")),
        Phase(
            lines(held, no_start, pyramid, readings, rois, pool),
            -(-output.shape[1] // together),
        ),
    ]
    if copies:
        plain = _maps("plain", maps, scales, {})
        calls = (
            f"{needed}tkx_block_by_eight(&plain[{index}], {output.shape[1]}, {copy}, task, tasks);"
            for index, copy in copies.items()
        )
        phases.insert(0, Phase(lines(held, "(void)(start + held);", plain, *calls), TASKS))
    return ExternCode(
        phases=tuple(phases),
        headers=("chunks.h", "roi_align.h"),
        sources=("roi_align.c", "selection.c"),
        workspace_bytes=scratch.bytes,
    )


def _maps(
    name: str, maps: Sequence[KernelTensor], scales: Sequence[float], copies: Mapping[int, str]
) -> str:
    entries = []
    for index, (tensor, scale) in enumerate(zip(maps, scales, strict=True)):
        _, _, height, width = tensor.shape
        data, block = copies.get(index, f"in{index}"), tensor.block
        if index in copies:
            block = LANES
        entries.append(f"{{{data}, {height}, {width}, {block}, {number(scale)}}}")
    return f"const tkx_map {name}[] = {{{', '.join(entries)}}};"


register(DetectorOperator("roi_align", _code, ALL, frozenset({0})))
register(DetectorOperator("roi_align_chunk", _chunk_code, ALL, frozenset({0})))
