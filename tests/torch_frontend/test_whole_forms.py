"""Small networks in the forms of well-known ones, each with what its family is known for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch_modules import errors_of, wrong_of

WIDTH, HEADS = 16, 4


def heads_of(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def together(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(2)


class Detr(nn.Module):
    """Sine positions from a mask's running sums, queries, a set of boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, WIDTH, 3, stride=2, padding=1)
        self.transformer = nn.Transformer(WIDTH, HEADS, 1, 1, 32, batch_first=True)
        self.queries = nn.Embedding(5, WIDTH)
        self.boxes = nn.Linear(WIDTH, 4)

    def positions(self, mask: torch.Tensor) -> torch.Tensor:
        steps = torch.arange(WIDTH // 2, dtype=torch.int64).float()
        scale = 10000 ** (2 * torch.div(steps, 2, rounding_mode="floor") / (WIDTH // 2))
        parts = []
        for axis in (1, 2):
            place = mask.cumsum(axis, dtype=torch.float32)
            place = place / (place.narrow(axis, -1, 1) + 1e-6) * 2 * math.pi
            angles = place[..., None] / scale
            parts.append(
                torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), 4).flatten(3)
            )
        return torch.cat(parts, 3).permute(0, 3, 1, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.backbone(x)
        mask = F.interpolate((x[:, :1] > -9).float(), features.shape[-2:])[:, 0].to(torch.bool)
        tokens = (features + self.positions(mask)).flatten(2).transpose(1, 2)
        found = self.transformer(
            tokens,
            self.queries.weight.unsqueeze(0).expand(x.shape[0], -1, -1),
            src_key_padding_mask=~mask.flatten(1),
            memory_key_padding_mask=~mask.flatten(1),
        )
        return {"boxes": self.boxes(found).sigmoid(), "tokens": tokens}


class Gpt(nn.Module):
    """A causal mask of booleans kept as a buffer, one of integers, weights as (in, out)."""

    mask: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(20, WIDTH)
        self.places = nn.Embedding(12, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Parameter(torch.randn(WIDTH, 3 * WIDTH) / 4)
        bound = torch.tril(torch.ones(12, 12, dtype=torch.uint8)).view(1, 1, 12, 12)
        self.register_buffer("mask", bound.bool(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ids = (x.abs().flatten(1)[:, :8] * 5).long() % 20
        length = ids.shape[1]
        places = torch.arange(0, length, dtype=torch.long)
        hidden = self.tokens(ids) + self.places(places)
        normal = self.norm(hidden).view(-1, WIDTH)
        mixed = torch.addmm(torch.zeros(3 * WIDTH), normal, self.qkv).view(1, length, 3 * WIDTH)
        query, key, value = (heads_of(part, HEADS) for part in mixed.split(WIDTH, dim=2))
        scores = query @ key.transpose(-1, -2) / value.size(-1) ** 0.5
        least = torch.full([], torch.finfo(scores.dtype).min, dtype=scores.dtype)
        scores = torch.where(self.mask[:, :, :length, :length], scores, least)
        integers = torch.ones(1, length, dtype=torch.long)
        integers[:, -2:] = 0
        scores = scores + (1.0 - integers[:, None, None].to(scores.dtype)) * least
        hidden = hidden + together(scores.softmax(-1) @ value)
        return 0.5 * hidden * (1 + torch.tanh(0.8 * (hidden + 0.04 * torch.pow(hidden, 3.0))))


class Llama(nn.Module):
    """Rotary positions in both ways of writing, grouped queries, RMS norm, a gated layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(WIDTH) + 0.5)
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.key = nn.Linear(WIDTH, WIDTH // 2, bias=False)
        self.value = nn.Linear(WIDTH, WIDTH // 2, bias=False)
        self.gate = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down = nn.Linear(WIDTH, WIDTH, bias=False)

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(x.dtype)

    def rotated(self, x: torch.Tensor) -> torch.Tensor:
        size, length = x.shape[-1], x.shape[-2]
        speeds = 1.0 / (100.0 ** (torch.arange(0, size, 2, dtype=torch.int64).float() / size))
        places = torch.arange(length)[None, :, None].float()
        angles = (speeds[None, None] * places).repeat(1, 1, 2)[:, None]
        half = torch.cat((-x[..., size // 2 :], x[..., : size // 2]), -1)
        return x * angles.cos() + half * angles.sin()

    def turned(self, x: torch.Tensor) -> torch.Tensor:
        """The same of neighbours, as complex numbers."""
        size, length = x.shape[-1], x.shape[-2]
        speeds = 1.0 / (100.0 ** (torch.arange(0, size, 2).float() / size))
        angles = torch.outer(torch.arange(length).float(), speeds)
        turns = torch.polar(torch.ones_like(angles), angles)
        numbers = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(numbers * turns).flatten(3).type_as(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = x.flatten(1)[:, : 6 * WIDTH].view(1, 6, WIDTH)
        normal = self.norm(hidden)
        query, key = heads_of(self.query(normal), HEADS), heads_of(self.key(normal), HEADS // 2)
        value = heads_of(self.value(normal), HEADS // 2)
        query, key = self.rotated(query) + self.turned(query), self.rotated(key) + self.turned(key)
        key, value = (part.repeat_interleave(2, dim=1) for part in (key, value))
        mask = torch.full((6, 6), float("-inf")).triu(1)
        hidden = hidden + together(
            F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        )
        up, gate = self.gate(self.norm(hidden)).chunk(2, -1)
        return hidden + self.down(F.silu(gate) * up)


class RtDetr(nn.Module):
    """Deformable attention over three scales, by grid_sample at learned offsets."""

    SIZES = ((8, 10), (4, 5), (2, 3))

    def __init__(self) -> None:
        super().__init__()
        self.offsets = nn.Linear(WIDTH, HEADS * 3 * 2 * 2)
        self.weights = nn.Linear(WIDTH, HEADS * 3 * 2)
        self.value = nn.Linear(3, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, count = x.shape[0], 5
        scales = [F.adaptive_avg_pool2d(x, size) for size in self.SIZES]
        memory = self.value(torch.cat([scale.flatten(2) for scale in scales], 2).transpose(1, 2))
        scores = memory.amax(-1)
        _, best = torch.topk(scores, count, dim=1)
        query = memory.gather(1, best.unsqueeze(-1).repeat(1, 1, WIDTH))
        offsets = self.offsets(query).view(batch, count, HEADS, 3, 2, 2)
        weights = self.weights(query).view(batch, count, HEADS, 6).softmax(-1)
        sizes = torch.tensor(self.SIZES).flip(1)
        places = (
            query[..., None, None, None, :2].sigmoid() + offsets / sizes[None, None, None, :, None]
        )
        grids = 2 * places - 1
        sampled = []
        parts = memory.split([height * width for height, width in self.SIZES], dim=1)
        for level, (height, width) in enumerate(self.SIZES):
            image = (
                heads_of(parts[level], HEADS)
                .transpose(2, 3)
                .reshape(batch * HEADS, -1, height, width)
            )
            grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)
            sampled.append(F.grid_sample(image, grid, "bilinear", "zeros", align_corners=False))
        weights = weights.transpose(1, 2).reshape(batch * HEADS, 1, count, 6)
        mixed = (torch.stack(sampled, -2).flatten(-2) * weights).sum(-1)
        return mixed.view(batch, WIDTH, count).transpose(1, 2)


class Raft(nn.Module):
    """All pairs of two pictures' features, looked up around a flow that is refined twice."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.update = nn.Conv2d(18 + 2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.features(x), self.features(x.flip(-1))
        batch, channels, height, width = first.shape
        pairs = first.flatten(2).transpose(1, 2) @ second.flatten(2) / channels**0.5
        pyramid = [pairs.view(batch * height * width, 1, height, width)]
        pyramid.append(F.avg_pool2d(pyramid[0], 2, stride=2))
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        base = torch.stack((columns, rows), 0).float().repeat(batch, 1, 1, 1)
        around = torch.stack(
            torch.meshgrid(torch.linspace(-1, 1, 3), torch.linspace(-1, 1, 3), indexing="ij"), -1
        )
        places = base
        for _ in range(2):
            seen = []
            for level, pair in enumerate(pyramid):
                centre = places.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2) / 2**level
                at = centre + around.view(1, 3, 3, 2)
                across, down = at.split([1, 1], dim=-1)
                grid = torch.cat(
                    [
                        2 * across / (pair.shape[-1] - 1) - 1,
                        2 * down / (pair.shape[-2] - 1) - 1,
                    ],
                    -1,
                )
                seen.append(
                    F.grid_sample(pair, grid, align_corners=True).view(batch, height, width, 9)
                )
            looked_up = torch.cat(seen, -1).permute(0, 3, 1, 2).contiguous()
            places = places + self.update(torch.cat([looked_up, places - base], 1))
        flow = 8 * F.interpolate(places - base, scale_factor=2, mode="bilinear", align_corners=True)
        windows = F.unfold(flow, 3, padding=1).view(batch, 2, 9, 2 * height, 2 * width)
        return (windows.softmax(2) * windows).sum(2)


class Networks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(
            {kind.__name__.lower(): kind() for kind in (Detr, Gpt, Llama, RtDetr, Raft)}
        )

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        return {name: network(x) for name, network in self.networks.items()}


def test_networks_in_the_forms_of_well_known_ones_compute_what_torch_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    picture = np.random.default_rng(0).standard_normal((1, 3, 12, 16), np.float32)
    errors = errors_of(Networks(), {"x": picture}, tmp_path)
    assert len(errors) == 6
    assert wrong_of(errors, 1e-4) == {}
