"""Convolutions of signals and volumes give what torch gives, and stay in the blocked layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from convolutions import Case, model_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

Array = np.ndarray[Any, Any]
TOLERANCE = 2e-5


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    axes = draw(st.sampled_from([1, 3, 3]))
    groups, channels, out_channels = draw(
        st.sampled_from([(1, 3, 8), (1, 16, 24), (1, 7, 5), (16, 16, 16), (4, 16, 32), (3, 6, 6)])
    )

    def numbers(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(least, most)) for _ in range(axes))

    window, dilation, strides = numbers(1, 3), numbers(1, 2), numbers(1, 2)
    size = [
        (w - 1) * d + 1 + draw(st.integers(0, 5)) for w, d in zip(window, dilation, strict=True)
    ]
    padding = numbers(0, 2)
    return Case(
        (draw(st.integers(1, 2)), channels, *size),
        (out_channels, channels // groups, *window),
        strides,
        (*padding, *padding),
        dilation,
        groups,
    )


@given(cases=st.lists(convolutions(), min_size=6, max_size=6), lanes=st.sampled_from([4, 8, 16]))
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_convolution_gives_what_torch_gives(
    execute: Callable[..., list[Array]],
    relative_error: Callable[[Array, Array], float],
    cases: list[Case],
    lanes: int,
) -> None:
    from tunekit.graph.images.convert import convolutions_as_images
    from tunekit.graph.layouts.convert import convert_layout

    module, data, weights = model_of(cases)
    converted = convert_layout(convolutions_as_images(module), "NCHWc", lanes)
    for case, x, kernel, actual in zip(
        cases, data, weights, execute(converted.module, data), strict=True
    ):
        assert relative_error(case.by_torch(x, kernel), actual) < TOLERANCE, case


class Gate(nn.Module):
    """A scale for each channel, of all of a signal or volume."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weights = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.weights(x.flatten(2).mean(-1)).sigmoid()
        return x * gate.reshape(*gate.shape, *[1] * (x.ndim - 2))


class Branches(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(3, 32, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
        nn.BatchNorm3d(32),
        nn.ReLU(),
        nn.MaxPool3d((3, 3, 3), (2, 2, 2), (1, 1, 1)),
        Branches(
            nn.Conv3d(32, 16, 1),
            nn.Sequential(nn.MaxPool3d(3, 1, 1), nn.Conv3d(32, 16, (3, 1, 1), padding=(1, 0, 0))),
            nn.Sequential(nn.AvgPool3d(3, 1, (0, 1, 1)), nn.ConstantPad3d((0, 0, 0, 0, 1, 1), 0.5)),
        ),
        Gate(64),
        nn.Conv3d(64, 64, 3, padding=1, groups=64),
        nn.SiLU(),
        nn.MaxPool3d(2, ceil_mode=True),
        nn.ConvTranspose3d(64, 32, 2, 2),
        nn.ConvTranspose3d(32, 32, (1, 3, 3), (1, 2, 2), (0, 1, 1), (0, 1, 1)),
        nn.Conv3d(32, 24, 1, stride=(2, 1, 1)),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(24, 5),
    )


def signals() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(16, 32, 5, padding="same", padding_mode="reflect"),
        nn.BatchNorm1d(32),
        nn.GELU(),
        Branches(nn.Conv1d(32, 16, 3, padding=1), nn.MaxPool1d(3, 1, 1), nn.AvgPool1d(3, 1, 1)),
        Gate(80),
        nn.Conv1d(80, 80, 7, padding=3, groups=80),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.ConvTranspose1d(80, 24, 4, 2, 1),
        nn.LeakyReLU(),
        nn.ConvTranspose1d(24, 24, 3, 2, output_padding=1, groups=4),
        nn.Conv1d(24, 40, 4, 2, dilation=2),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
    )


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (volumes, (1, 3, 9, 36, 40)),
        (volumes, (2, 3, 8, 33, 32)),
        (signals, (1, 16, 61)),
        (signals, (3, 16, 64)),
    ],
)
def test_networks_stay_blocked_and_give_what_torch_gives(
    model: Callable[[], nn.Module],
    shape: tuple[int, ...],
    imported: Callable[..., Any],
    execute: Callable[..., list[Array]],
    relative_error: Callable[[Array, Array], float],
) -> None:
    from tunekit.graph.images.convert import convolutions_as_images
    from tunekit.graph.layouts.convert import convert_layout
    from tunekit.ir.relax import bindings_of, operator_name

    torch.manual_seed(0)
    module, x = model().eval(), torch.randn(shape)
    converted = convert_layout(convolutions_as_images(imported(module, [x])), "NCHWc", 8)
    names = [operator_name(value) for _, value in bindings_of(converted.module["main"]) or ()]
    assert "call_tir" in names
    assert "nn.conv2d" not in names
    assert not any(name.endswith(("1d", "3d", "1d_transpose", "3d_transpose")) for name in names)
    [actual] = execute(converted.module, [x.numpy()])
    assert relative_error(module(x).detach().numpy(), actual) < TOLERANCE


def test_a_window_over_frames_copies_none() -> None:
    """Frames are read where they lie: one kernel for each convolution, and none between."""
    from tunekit.graph.prepare import prepare
    from tunekit.machine.target import resolve_target
    from tunekit.torch_frontend import export_program, program_to_relax

    model = nn.Sequential(nn.Conv3d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv3d(32, 32, 3))
    program = export_program(model.eval(), [torch.zeros(1, 32, 6, 9, 9)], "test")
    target = resolve_target("llvm -mcpu=x86-64-v3 -num-cores=2", measured_elsewhere=True)
    graph = prepare(program_to_relax(program, ["x"], "test"), target, "auto")
    assert (graph.layout, len(graph.module.functions)) == ("NCHWc", 5)
