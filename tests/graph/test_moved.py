"""Operators that only move elements keep the blocked layout, and move the right ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from blocked_networks import NETWORKS, Shuffles
from torch import nn

from tunekit.graph.layouts.convert import convert_layout
from tunekit.graph.layouts.moved import unreshaped

TOLERANCE = 1e-5


class Moves(nn.Module):
    """Every operator that moves elements, of blocks that fit and that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.narrow = nn.Conv2d(24, 20, 1)
        self.window = nn.Conv2d(20, 24, 3)
        self.six = nn.Conv2d(6, 8, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.stem(x)
        z = self.narrow(y)
        first, second, third = torch.split(y, [5, 8, 11], 1)
        around = (2, 1, 1, 2)
        return (
            torch.cat([z, second, x, third], 1).relu(),
            torch.cat([first, F.relu(first), y], 1).mean(1),
            F.pad(y, (1, 2, 3, 4)).mean((2, 3)),
            F.pad(y, around, "reflect").mean(3),
            F.pad(y, around, "replicate").mean(3),
            F.pad(y, around, "circular")[:, ::2, 1::3].mean(3),
            F.pad(z, around, value=2.0).relu().mean(3),
            self.window(F.pad(z, (2, 1, 0, 1))),
            self.window(F.pad(z, (-1, 1, -1, 1))),
            self.six(y[:, 3:9]),
            y.flip(1).mean(2),
            torch.roll(y, 1, 1).relu(),
            y.transpose(2, 3).relu().mean(3),
            y.reshape(1, 2, 12, -1).softmax(-1),
            y.view(1, 4, 6, 9, 7).permute(0, 2, 1, 4, 3).reshape(1, 24, 63) + 1,
            torch.stack([y, y * 2], 1).sum(1),
            F.pixel_shuffle(y, 2)[..., 1:, 2:],
            y[..., [1, 4, 2]].relu(),
        )


def test_every_move_gives_what_torch_gives(convert: Any) -> None:
    torch.manual_seed(0)
    assert max(convert(Moves(), (1, 3, 9, 7)).errors) < TOLERANCE


def test_shuffled_channels_give_what_torch_gives(convert: Any) -> None:
    torch.manual_seed(0)
    assert max(convert(Shuffles(), Shuffles.shape).errors) < TOLERANCE


@pytest.mark.parametrize("network", NETWORKS)
def test_only_borders_are_transformed(imported: Callable[..., Any], network: Any) -> None:
    module = imported(network(), [torch.zeros(network.shape)])
    assert convert_layout(module, "NCHWc", 8).transforms == network.transforms


def test_a_shuffle_and_its_halves_are_one_kernel_each(imported: Callable[..., Any]) -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.left, self.right = (nn.Conv2d(inputs, 8, 1) for inputs in (16, 8, 8))
            self.wide = nn.Conv2d(16, 16, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            y = self.wide(x).view(1, 2, 8, 4, 4).transpose(1, 2).reshape(1, 16, 4, 4)
            left, right = y.chunk(2, 1)
            return self.left(left).mean((2, 3)), self.right(right).mean((2, 3))

    laid_out = convert_layout(imported(Halves(), [torch.zeros(1, 16, 4, 4)]), "NCHWc", 8)
    calls = [
        str(binding.value.args[0].name_hint)
        for block in laid_out.module["main"].body.blocks
        for binding in block.bindings
        if getattr(binding.value, "op", None) is not None and "call_tir" in str(binding.value.op)
    ]
    assert sum(name.startswith("slice") for name in calls) == 2
    assert not any(name.startswith(("reshape", "transpose")) for name in calls)


@pytest.mark.parametrize(
    ("shape", "source"),
    [
        ((6, 4), (2, 3, 4)),
        ((2, 3, 4), (6, 4)),
        ((4, 6), (2, 3, 4)),
        ((1, 24, 1), (24,)),
        ((24,), (2, 12, 1)),
    ],
)
def test_a_reshape_keeps_the_order(shape: tuple[int, ...], source: tuple[int, ...]) -> None:
    numbers = torch.arange(24)
    for place in torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)):
        indices = [int(index) for index in place]
        moved = unreshaped(indices, shape, source)
        assert numbers.view(source)[tuple(moved)] == numbers.view(shape)[tuple(indices)]
