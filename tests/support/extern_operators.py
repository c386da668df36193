"""Operators in C as a model would bring them: one of each kind, and a network that uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tunekit.extern_kernels import ExternCode, KernelTensor, Phase, register

ROWS, CHUNK, LIKELY = 4, 2, 1


def _index(tensor: KernelTensor, channel: str, pixel: str) -> str:
    """Where an element of an image is."""
    pixels, block = tensor.shape[2] * tensor.shape[3], tensor.block
    return f"(({channel}) / {block} * {pixels} + {pixel}) * {block} + ({channel}) % {block}"


@dataclass(frozen=True)
class _Pixels:
    """All channels of one pixel of each map, and how many are positive: a parallel phase that
    counts into the workspace, and one that sums."""

    name: str = "toy_pixels"
    blocked_inputs: frozenset[int] = frozenset({0, 1})
    blocked_outputs: frozenset[int] = frozenset()

    def code(
        self,
        inputs: Sequence[KernelTensor],
        outputs: Sequence[KernelTensor],
        attributes: Mapping[str, Any],
    ) -> ExternCode:
        channels, count = outputs[0].shape[1], attributes["maps"]
        shift = "0.0f" if attributes.get("shift", 0) is None else f"in{count}[c]"
        steps = [
            f"if (task == {n}) for (int32_t c = 0; c < {channels}; c++) {{"
            f" out0[{n * channels} + c] ="
            f" {attributes['factor']!r}f * in{n}[{_index(maps, 'c', str(pixel))}] + {shift};"
            f" positive += out0[{n * channels} + c] > 0.0f; }}"
            for n, (maps, pixel) in enumerate(zip(inputs, attributes["pixels"], strict=False))
        ]
        counts = ["int32_t *counts = (int32_t *)(void *)workspace;"]
        return ExternCode(
            (
                Phase(
                    "\n".join(
                        [*counts, "int32_t positive = 0;", *steps, "counts[task] = positive;"]
                    ),
                    tasks=count,
                ),
                Phase(
                    "\n".join(
                        [
                            *counts,
                            "out1[0] = 0;",
                            f"for (int32_t n = 0; n < {count}; n++) out1[0] += counts[n];",
                        ]
                    )
                ),
            ),
            workspace_bytes=4 * count,
        )


@dataclass(frozen=True)
class _Chunk:
    """Some rows of a tensor, where so many are there."""

    name: str = "toy_chunk"
    blocked_inputs: frozenset[int] = frozenset({0})
    blocked_outputs: frozenset[int] = frozenset({0})

    def code(
        self,
        inputs: Sequence[KernelTensor],
        outputs: Sequence[KernelTensor],
        attributes: Mapping[str, Any],
    ) -> ExternCode:
        first, (rows, channels, height, width) = attributes["first"], outputs[0].shape
        size, pixels = channels * height * width, height * width
        of_row = f"(r + {first}) * {inputs[0].elements // inputs[0].shape[0]}"
        loops = "\n".join(
            [
                f"out1[0] = in1[0] > {first};",
                f"for (int32_t r = 0; r < {rows} && out1[0]; r++)",
                f"  for (int32_t c = 0; c < {channels}; c++)",
                f"    for (int32_t p = 0; p < {pixels}; p++)",
                f"      out0[r * {size} + {_index(outputs[0], 'c', 'p')}] =",
                f"          in0[{of_row} + {_index(inputs[0], 'c', 'p')}];",
            ]
        )
        chance = float(attributes["likely"] > first)
        return ExternCode((Phase(loops),), switch=1, chance=chance)


@dataclass(frozen=True)
class _Collect:
    """The rows of all chunks that are there, zeros behind them."""

    name: str = "toy_collect"
    blocked_inputs: frozenset[int] = frozenset()
    blocked_outputs: frozenset[int] = frozenset()

    def code(
        self,
        inputs: Sequence[KernelTensor],
        outputs: Sequence[KernelTensor],
        attributes: Mapping[str, Any],
    ) -> ExternCode:
        parts = inputs[:-1]
        loops = "\n".join(
            f"for (int32_t i = 0; i < {part.elements}; i++)"
            f" out0[{n * part.elements} + i] ="
            f" i / {part.elements // CHUNK} + {n * CHUNK} < in{len(parts)}[0] ? in{n}[i] : 0.0f;"
            for n, part in enumerate(parts)
        )
        return ExternCode((Phase(loops),), collects=True)


def _pixels(
    maps: list[torch.Tensor], shift: torch.Tensor | None, *, factor: float, pixels: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = [image[0].flatten(1)[:, pixel] for image, pixel in zip(maps, pixels, strict=True)]
    values = factor * torch.stack(chosen) + (0.0 if shift is None else shift)
    return values, (values > 0).sum(dtype=torch.int32).reshape(1)


def _chunk(
    rows: torch.Tensor, count: torch.Tensor, *, first: int, likely: int
) -> tuple[torch.Tensor, torch.Tensor]:
    return rows[first : first + CHUNK].clone(), (count > first).to(torch.int32)


def _collect(parts: list[torch.Tensor], count: torch.Tensor) -> torch.Tensor:
    rows = torch.cat(parts)
    there = torch.arange(len(rows)) < count
    return torch.where(there.reshape(-1, 1, 1, 1), rows, 0.0)


_SCHEMAS = {
    "toy_pixels": (
        "(Tensor[] maps, Tensor? shift, *, float factor, int[] pixels) -> (Tensor, Tensor)",
        _pixels,
    ),
    "toy_chunk": (
        "(Tensor rows, Tensor count, *, int first, int likely) -> (Tensor, Tensor)",
        _chunk,
    ),
    "toy_collect": ("(Tensor[] parts, Tensor count) -> Tensor", _collect),
    "toy_unknown": ("(Tensor x) -> Tensor", torch.clone),
}


def define() -> None:
    """Makes the operators known to torch, and those with C to tunekit."""
    if hasattr(torch.ops.tunekit, "toy_pixels"):
        return
    for name, (schema, function) in _SCHEMAS.items():
        torch.library.define(f"tunekit::{name}", schema)
        torch.library.impl(f"tunekit::{name}", "cpu")(function)
        torch.library.register_fake(f"tunekit::{name}")(function)
    for operator in (_Pixels(), _Chunk(), _Collect()):
        register(operator)


class Odd(nn.Module):
    """An operator by its name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, image: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = getattr(torch.ops.tunekit, self.name)(image)
        return result


class Detecting(nn.Module):
    """A convolution whose results operators in C read, and a head on chunks that may be empty."""

    def __init__(self, *, shift: bool = True, returns_chunk: bool = False) -> None:
        super().__init__()
        define()
        self.body = nn.Conv2d(3, 16, 3, padding=1)
        self.head = nn.Conv2d(16, 8, 3, padding=1)
        self.scales = nn.Parameter(torch.linspace(0.5, 2.0, ROWS).reshape(ROWS, 1, 1, 1))
        self.shift = nn.Parameter(torch.randn(16)) if shift else None
        self.returns_chunk = returns_chunk

    def forward(self, image: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, ...]:
        tunekit = torch.ops.tunekit
        large = torch.relu(self.body(image))
        small = torch.max_pool2d(large, 2)
        values, positive = tunekit.toy_pixels([large, small], self.shift, factor=0.5, pixels=[7, 3])
        rows = small * self.scales
        parts = []
        for first in range(0, ROWS, CHUNK):
            chunk, _ = tunekit.toy_chunk(rows, count, first=first, likely=LIKELY)
            parts.append(torch.relu(self.head(chunk)))
        results = (values, positive, tunekit.toy_collect(parts, count))
        return (*results, parts[-1]) if self.returns_chunk else results
