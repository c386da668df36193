"""Windows of convolutions lose the taps that only ever read padding, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tunekit.graph.outer_taps import without_outer_taps
from tunekit.ir.relax import bindings_of, operator_name, static_shape

# The layer, the image, and what is left of the window.
CASES: tuple[tuple[nn.Module, tuple[int, ...], tuple[int, ...]], ...] = (
    (nn.Conv2d(4, 8, 3, padding=24, dilation=24), (16, 16), (1, 1)),
    (nn.Conv2d(4, 8, 3, padding=12, dilation=12), (16, 16), (3, 3)),
    (nn.Conv2d(4, 8, 3, padding=16, dilation=16), (16, 17), (1, 3)),
    (nn.Conv2d(4, 8, 3, padding=1), (1, 1), (1, 1)),
    (nn.Conv2d(4, 4, 5, padding=2, groups=4), (2, 1), (3, 1)),
    (nn.Conv2d(4, 8, 3, padding=1, stride=2), (1, 5), (1, 3)),
    (nn.Conv2d(4, 8, 4, padding=(3, 0)), (1, 6), (4, 4)),
    (nn.Conv2d(4, 8, 3), (3, 3), (3, 3)),
    # One tap before all pixels, and the next behind the first: it stays.
    (nn.Conv2d(4, 8, 2, padding=(1, 0), dilation=(3, 1), stride=(9, 1)), (5, 6), (2, 2)),
    (nn.Conv1d(4, 8, 3, padding=9, dilation=9), (7,), (1,)),
    (nn.Conv3d(4, 8, 3, padding=1), (1, 4, 4), (1, 3, 3)),
)


@pytest.mark.parametrize(("layer", "size", "left"), CASES)
def test_what_only_reads_padding_is_dropped(
    layer: nn.Module,
    size: tuple[int, ...],
    left: tuple[int, ...],
    imported: Callable[..., Any],
    execute: Callable[..., list[Any]],
    relative_error: Callable[..., float],
) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 4, *size)
    smaller = without_outer_taps(imported(layer, [image]))
    [window] = [
        static_shape(value.args[1])
        for _, value in bindings_of(smaller["main"]) or ()
        if operator_name(value).startswith("nn.conv")
    ]
    assert window is not None
    assert window[2:] == left
    [given] = execute(smaller, [image.numpy()])
    with torch.no_grad():
        assert relative_error(layer(image).numpy(), given) < 1e-5


def test_weights_that_are_no_numbers_stay(imported: Callable[..., Any]) -> None:
    layer = nn.Conv2d(4, 8, 3, padding=1)
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] = float("inf")
    module = imported(layer, [torch.zeros(1, 4, 1, 1)])
    assert without_outer_taps(module).same_as(module)
