"""Channels that no vector divides: blocked with padding, and nothing is seen of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tunekit.graph.layouts.blocks import Blocks

TOLERANCE = 1e-5


class Odd(nn.Module):
    """Convolutions of 21, 91, 3 and 1 channels in the middle of a network, and what may be around
    them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 21, 3, padding=1)
        self.depthwise = nn.Conv2d(21, 21, 3, padding=1, groups=21)
        self.wide = nn.Conv2d(21, 91, 1)
        self.three = nn.Conv2d(91, 3, 3, stride=2, padding=1)
        self.back = nn.Conv2d(3, 21, 3, padding=1)
        self.single = nn.Conv2d(21, 1, 1)
        self.from_one = nn.Conv2d(1, 16, 1)
        self.one_to_one = nn.Conv2d(1, 1, 3, padding=1)
        self.up = nn.ConvTranspose2d(21, 3, 2, stride=2)
        self.squeeze = nn.Conv2d(21, 6, 1)
        self.excite = nn.Conv2d(6, 21, 1)
        self.joined = nn.Conv2d(37, 5, 1)
        self.vector = nn.Parameter(torch.randn(21, 1, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = F.relu(self.stem(x))
        x = x + F.silu(self.depthwise(x)) / (3 + self.vector.abs()) - self.vector
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        x = F.max_pool2d(x * gate, 3, 1, 1)
        small = self.back(torch.sigmoid(self.three(F.gelu(self.wide(x)))))
        one = self.single(small)
        joined = self.joined(torch.cat([self.from_one(F.relu(self.one_to_one(one))), small], 1))
        return self.up(F.interpolate(small, scale_factor=2)), joined.mean((2, 3)), one


class Unbounded(nn.Module):
    """What makes infinities of zeros, and what a run alone knows, beside padding."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, 21, 1)
        self.second = nn.Conv2d(21, 8, 1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = F.relu(self.first(x)) + 1
        functions = (torch.log, torch.rsqrt, torch.exp, lambda t: 1 / t, lambda t: t * y)
        return tuple(self.second(function(x)) for function in functions)


@pytest.mark.parametrize("lanes", [8, 16])
def test_odd_channels_give_what_torch_gives_and_stay_blocked(convert: Any, lanes: int) -> None:
    torch.manual_seed(0)
    converted = convert(Odd(), (1, 3, 10, 6), lanes=lanes)
    assert max(converted.errors) < TOLERANCE
    # The two images that it returns.
    assert converted.transforms == 2


def test_padding_that_may_become_infinite_reaches_no_sum(convert: Any) -> None:
    torch.manual_seed(0)
    assert max(convert(Unbounded(), (1, 8, 4, 4), (1, 1, 4, 4)).errors) < TOLERANCE


@pytest.mark.parametrize(
    ("channels", "lanes", "width", "count"),
    [
        (64, 8, 8, 8),
        (20, 8, 4, 5),
        (21, 8, 8, 3),
        (91, 16, 16, 6),
        (6, 16, 8, 1),
        (3, 16, 4, 1),
        (1, 4, 4, 1),
    ],
)
def test_blocks_are_few_and_narrow(channels: int, lanes: int, width: int, count: int) -> None:
    blocks = Blocks.of(channels, lanes)
    assert (blocks.width, blocks.count) == (width, count)


def test_a_kernel_is_described_as_the_model_has_it(imported: Any) -> None:
    from tunekit.graph.operation import describe
    from tunekit.graph.prepare import prepare
    from tunekit.graph.tasks import extract_tasks
    from tunekit.machine.target import resolve_target

    target = resolve_target("llvm -mcpu=x86-64-v3 -num-cores=2", measured_elsewhere=True)
    model = nn.Sequential(
        nn.Conv2d(64, 21, 1),
        nn.Conv2d(21, 21, 3, padding=1, groups=21),
        nn.Conv2d(21, 48, 1),
        nn.Conv2d(48, 24, 3, padding=1, groups=12),
    )
    graph = prepare(imported(model, [torch.zeros(1, 64, 6, 6)]), target, "NCHWc")
    words = {describe(task.module) for task in extract_tasks(graph, target)}
    assert {
        "1x1 64 to 21, 6x6 add",
        "3x3 depthwise 21, 6x6 add",
        "3x3 48 to 24 in 12 groups, 6x6 add",
    } <= words
