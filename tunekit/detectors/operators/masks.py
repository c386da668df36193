"""The masks of detections, small and in the picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.library import custom_op
from torchvision.models.detection.roi_heads import paste_masks_in_image

from tunekit.detectors.operators.boxes import padded
from tunekit.detectors.operators.chunks import chunk_slots
from tunekit.detectors.operators.glue import (
    ALL,
    Attributes,
    DetectorOperator,
    lines,
    structure,
    whole,
)
from tunekit.extern_kernels import ExternCode, KernelTensor, Phase, register
from tunekit.extern_kernels.resources import Scratch, tasks_for


@custom_op("tunekit::mask_select", mutates_args=())
def mask_select(logits: list[Tensor], labels: Tensor, count: Tensor) -> Tensor:
    """The mask of each detection's label, as torchvision's `maskrcnn_inference` has it.

    Args:
        logits: of each piece of `chunk_rows`, (rows, C, M, M).
        labels: (D) int64.
        count: how many of them there are, (1) int32.

    Returns:
        (D, 1, M, M) probabilities, zeros behind the count.
    """
    found = int(count)
    ordered = in_order(logits, len(labels), found)
    return padded(ordered[torch.arange(found), labels[:found], None].sigmoid(), len(labels))


@mask_select.register_fake
def _(logits: list[Tensor], labels: Tensor, count: Tensor) -> Tensor:
    return logits[0].new_empty((labels.shape[0], 1, *logits[0].shape[2:]))


@custom_op("tunekit::paste_masks", mutates_args=())
def paste_masks(masks: Tensor, boxes: Tensor, count: Tensor, *, height: int, width: int) -> Tensor:
    """Masks in the picture, as torchvision's `paste_masks_in_image` has it.

    Args:
        masks: (D, 1, M, M) probabilities.
        boxes: (D, 4), in pixels of the picture.
        count: how many of them there are, (1) int32.
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Returns:
        (D, 1, height, width), zeros behind the count.
    """
    found = int(count)
    pasted = paste_masks_in_image(masks[:found], boxes[:found], (height, width))
    return padded(pasted, len(masks))


@paste_masks.register_fake
def _(masks: Tensor, boxes: Tensor, count: Tensor, *, height: int, width: int) -> Tensor:
    return masks.new_empty((masks.shape[0], 1, height, width))


def in_order(pieces: list[Tensor], limit: int, count: int) -> Tensor:
    """What a head says of detections, in pieces, in the order of the detections."""
    return torch.cat(
        [piece[: len(chunk_slots(limit, count, chunk))] for chunk, piece in enumerate(pieces)]
    )


def head(pieces: Sequence[KernelTensor], limit: int) -> str:
    """What a head says of detections, the first inputs, in C."""
    _, channels, size, _ = pieces[0].shape
    listed = ", ".join(f"{{in{n}, {piece.block}}}" for n, piece in enumerate(pieces))
    return lines(
        f"const tkx_piece pieces[] = {{{listed}}};",
        structure("tkx_head", "head", pieces="pieces", limit=limit, channels=channels, size=size),
    )


def _select_code(
    inputs: Sequence[KernelTensor], outputs: Sequence[KernelTensor], attributes: Attributes
) -> ExternCode:
    count = whole(attributes["logits"])
    limit = outputs[0].shape[0]
    call = f"tkx_select_masks(&head, in{count}, *in{count + 1}, out0, task, tasks);"
    return ExternCode(
        phases=(Phase(lines(head(inputs[:count], limit), call), tasks_for(limit)),),
        headers=("masks.h",),
        sources=("masks.c",),
        collects=True,
    )


def _paste_code(
    inputs: Sequence[KernelTensor], outputs: Sequence[KernelTensor], attributes: Attributes
) -> ExternCode:
    limit, _, size, _ = inputs[0].shape
    width, tasks = whole(attributes["width"]), tasks_for(limit)
    scratch = Scratch()
    pasting = structure(
        "tkx_pasting",
        "pasting",
        masks="in0",
        boxes="in1",
        limit=limit,
        size=size,
        height=attributes["height"],
        width=width,
        rows=scratch.array("float", tasks * (size + 3)),
        columns=scratch.array("int32_t", tasks * width),
        weights=scratch.array("float", tasks * width),
    )
    return ExternCode(
        phases=(
            Phase(lines(pasting, "tkx_paste_masks(&pasting, *in2, out0, task, tasks);"), tasks),
        ),
        headers=("masks.h",),
        sources=("masks.c",),
        workspace_bytes=scratch.bytes,
    )


register(DetectorOperator("mask_select", _select_code, ALL))
register(DetectorOperator("paste_masks", _paste_code))
