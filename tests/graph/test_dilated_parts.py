"""Dilated convolutions come in parts where padding is much of their work, and give the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tunekit.graph.dilated_parts import dilated_in_parts
from tunekit.ir.relax import bindings_of, operator_name, static_shape

# The layer, the image, and the windows of the parts in order; one where it stays as it is.
CASES: tuple[tuple[nn.Module, tuple[int, int], list[tuple[int, ...]]], ...] = (
    (
        nn.Conv2d(32, 128, 3, padding=6, dilation=6),
        (16, 16),
        [(2, 2), (2, 3), (2, 2), (3, 2), (3, 3), (3, 2), (2, 2), (2, 3), (2, 2)],
    ),
    (
        nn.Conv2d(32, 128, 3, padding=12, dilation=12),
        (16, 15),
        [(2, 2), (2, 1), (2, 2), (1, 2), (1, 1), (1, 2), (2, 2), (2, 1), (2, 2)],
    ),
    # Half the size: there is no middle.
    (nn.Conv2d(32, 128, 3, padding=8, dilation=8), (16, 16), [(2, 2)] * 4),
    # Along one axis alone, and padding on one side.
    (
        nn.Conv2d(32, 128, (3, 1), padding=(9, 0), dilation=(9, 1)),
        (20, 7),
        [(2, 1), (3, 1), (2, 1)],
    ),
    # Little of their work, or none that is worth a copy.
    (nn.Conv2d(32, 128, 3, padding=2, dilation=2), (64, 64), [(3, 3)]),
    (nn.Conv2d(32, 1, 3, padding=6, dilation=6), (16, 16), [(3, 3)]),
    (nn.Conv2d(32, 128, 3, padding=1), (4, 4), [(3, 3)]),
    (nn.Conv2d(32, 128, 3, padding=6, dilation=6, stride=2), (16, 16), [(3, 3)]),
    (nn.Conv2d(32, 32, 3, padding=6, dilation=6, groups=32), (16, 16), [(3, 3)]),
    # The corners of the result are of padding alone.
    (nn.Conv2d(32, 128, 3, padding=20, dilation=6), (16, 16), [(3, 3)]),
)


@pytest.mark.parametrize(("layer", "size", "windows"), CASES)
def test_parts_read_no_padding_and_give_the_same(
    layer: nn.Module,
    size: tuple[int, int],
    windows: list[tuple[int, ...]],
    imported: Callable[..., Any],
    execute: Callable[..., list[Any]],
    relative_error: Callable[..., float],
) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 32, *size)
    module = imported(layer, [image])
    parts = dilated_in_parts(module)
    found = [
        (static_shape(value.args[1]) or ())[2:]
        for _, value in bindings_of(parts["main"]) or ()
        if operator_name(value) == "nn.conv2d"
    ]
    assert found == windows
    if len(windows) == 1:
        assert parts.same_as(module)
        return
    [given] = execute(parts, [image.numpy()])
    with torch.no_grad():
        assert relative_error(layer(image).numpy(), given) < 1e-5


def test_weights_that_are_no_numbers_stay(imported: Callable[..., Any]) -> None:
    layer = nn.Conv2d(32, 128, 3, padding=6, dilation=6)
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] = float("inf")
    module = imported(layer, [torch.zeros(1, 32, 16, 16)])
    assert dilated_in_parts(module).same_as(module)
