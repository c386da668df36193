"""Dilated convolutions on interleaved images give the same, by algorithms that know no dilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tunekit.graph.dilated_phases import dilated_as_phases
from tunekit.ir.relax import bindings_of, operator_name, static_shape

# The layer, the image, and the images that are convolved; None where it stays as it is.
CASES: tuple[tuple[nn.Module, tuple[int, int], tuple[int, ...] | None], ...] = (
    (nn.Conv2d(32, 64, 3, padding=2, dilation=2), (16, 16), (8, 32, 8, 8)),
    (nn.Conv2d(32, 64, 3, padding=4, dilation=4), (16, 24), (32, 32, 4, 6)),
    (nn.Conv2d(32, 64, 3, padding=(0, 6), dilation=(2, 3)), (12, 15), (12, 32, 6, 5)),
    (nn.Conv2d(32, 64, 3, padding=(1, 2), dilation=(1, 2)), (9, 10), (4, 32, 9, 5)),
    # Pixels that do not come out even, or too few of them.
    (nn.Conv2d(32, 64, 3, padding=2, dilation=2), (15, 16), None),
    (nn.Conv2d(32, 64, 3, padding=1, dilation=2), (16, 16), None),
    (nn.Conv2d(32, 64, 3, padding=6, dilation=6), (12, 12), None),
    # What no algorithm but the direct one is for.
    (nn.Conv2d(32, 64, 3, padding=1), (16, 16), None),
    (nn.Conv2d(32, 64, 5, padding=4, dilation=2), (16, 16), None),
    (nn.Conv2d(32, 64, 3, padding=2, dilation=2, stride=2), (16, 16), None),
    (nn.Conv2d(32, 32, 3, padding=2, dilation=2, groups=2), (16, 16), None),
    (nn.Conv2d(32, 8, 3, padding=2, dilation=2), (16, 16), None),
)


@pytest.mark.parametrize(("layer", "size", "images"), CASES)
def test_images_of_every_other_pixel_give_the_same(
    layer: nn.Module,
    size: tuple[int, int],
    images: tuple[int, ...] | None,
    imported: Callable[..., Any],
    execute: Callable[..., list[Any]],
    relative_error: Callable[..., float],
) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 32, *size)
    module = imported(layer, [image])
    phases = dilated_as_phases(module)
    if images is None:
        assert phases.same_as(module)
        return
    [convolution] = [
        value
        for _, value in bindings_of(phases["main"]) or ()
        if operator_name(value) == "nn.conv2d"
    ]
    assert static_shape(convolution.args[0]) == images
    assert [int(step) for step in convolution.attrs.dilation] == [1, 1]
    [given] = execute(phases, [image.numpy()])
    with torch.no_grad():
        assert relative_error(layer(image).numpy(), given) < 1e-5
