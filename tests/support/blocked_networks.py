"""Small networks of the kinds that leave the blocked layout most often, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.SiLU())


class _C2f(nn.Module):
    """Halves, a chain of bottlenecks on the second one, and all of them joined."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1, *, residual: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.enter = _conv(inputs, outputs)
        self.leave = _conv((2 + depth) * half, outputs)
        self.bottlenecks = nn.ModuleList(
            nn.Sequential(_conv(half, half, 3), _conv(half, half, 3)) for _ in range(depth)
        )
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        for bottleneck in self.bottlenecks:
            made = bottleneck(parts[-1])
            parts.append(made + parts[-1] if self.residual else made)
        return self.leave(torch.cat(parts, 1))


class _Sppf(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter, self.leave = _conv(channels, channels // 2), _conv(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.leave(torch.cat(parts, 1))


class Detector(nn.Module):
    """YOLOv8 in small: C2f, SPPF, a pyramid up and down, heads with distributions of distances."""

    shape = (1, 3, 32, 32)
    #: Boxes and scores of all levels; the distributions, which a softmax leaves plain.
    transforms = 4

    def __init__(self, classes: int = 3, bins: int = 4) -> None:
        super().__init__()
        self.classes, self.bins = classes, bins
        self.stem = nn.Sequential(_conv(3, 8, 3, 2), _conv(8, 16, 3, 2), _C2f(16, 16))
        self.middle = nn.Sequential(_conv(16, 32, 3, 2), _C2f(32, 32, 2))
        self.deep = nn.Sequential(_conv(32, 32, 3, 2), _C2f(32, 32), _Sppf(32))
        self.up_middle = _C2f(64, 32, residual=False)
        self.up_fine = _C2f(48, 16, residual=False)
        self.down_middle, self.again_middle = _conv(16, 16, 3, 2), _C2f(48, 32, residual=False)
        self.down_deep, self.again_deep = _conv(32, 32, 3, 2), _C2f(64, 32, residual=False)
        widths = (16, 32, 32)
        self.boxes = nn.ModuleList(
            nn.Sequential(_conv(width, 16, 3), nn.Conv2d(16, 4 * bins, 1)) for width in widths
        )
        self.scores = nn.ModuleList(
            nn.Sequential(_conv(width, 16, 3), nn.Conv2d(16, classes, 1)) for width in widths
        )
        self.distances = nn.Conv2d(bins, 1, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.stem(x)
        middle = self.middle(fine)
        deep = self.deep(middle)
        up = self.up_middle(torch.cat([F.interpolate(deep, scale_factor=2), middle], 1))
        fine = self.up_fine(torch.cat([F.interpolate(up, scale_factor=2), fine], 1))
        middle = self.again_middle(torch.cat([self.down_middle(fine), up], 1))
        deep = self.again_deep(torch.cat([self.down_deep(middle), deep], 1))
        levels = [
            torch.cat([boxes(level), scores(level)], 1).flatten(2)
            for level, boxes, scores in zip(
                (fine, middle, deep), self.boxes, self.scores, strict=True
            )
        ]
        box, score = torch.cat(levels, 2).split((4 * self.bins, self.classes), 1)
        batch, _, places = box.shape
        spread = box.view(batch, 4, self.bins, places).transpose(2, 1).softmax(1)
        return torch.cat([self.distances(spread).view(batch, 4, places), score.sigmoid()], 1)


def _shuffled(x: torch.Tensor, groups: int = 2) -> torch.Tensor:
    batch, channels, height, width = x.shape
    apart = x.view(batch, groups, channels // groups, height, width)
    return apart.transpose(1, 2).reshape(batch, channels, height, width)


class _ShuffleUnit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.stride = stride
        self.right = nn.Sequential(
            *(nn.Conv2d(inputs if stride > 1 else half, half, 1), nn.ReLU()),
            nn.Conv2d(half, half, 3, stride, 1, groups=half),
            *(nn.Conv2d(half, half, 1), nn.ReLU()),
        )
        self.left = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs),
            *(nn.Conv2d(inputs, half, 1), nn.ReLU()),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride > 1:
            return _shuffled(torch.cat([self.left(x), self.right(x)], 1))
        kept, changed = x.chunk(2, 1)
        return _shuffled(torch.cat([kept, self.right(changed)], 1))


class Shuffles(nn.Module):
    """ShuffleNetV2 in small, its halves no multiple of a vector."""

    shape = (1, 3, 32, 32)
    transforms = 0

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, 2, 1)
        self.units = nn.Sequential(
            *(_ShuffleUnit(24, 36, 2), _ShuffleUnit(36, 36, 1), _ShuffleUnit(36, 36, 1)),
            *(_ShuffleUnit(36, 64, 2), _ShuffleUnit(64, 64, 1)),
        )
        self.head = nn.Conv2d(64, 48, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.units(F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1))
        return F.relu(self.head(x)).mean((2, 3))


class Decoder(nn.Module):
    """A U-Net in small: transposed and bilinear ways up, padded and cropped skips, one channel
    out."""

    shape = (1, 3, 22, 26)
    #: The image that it returns.
    transforms = 1

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = _conv(3, 16, 3), _conv(16, 32, 3)
        self.bottom = _conv(32, 48, 3)
        self.up = nn.ConvTranspose2d(48, 32, 2, 2)
        self.after, self.last = _conv(64, 24, 3), _conv(40, 16, 3)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        second = self.second(F.max_pool2d(first, 2))
        up = self.up(self.bottom(F.max_pool2d(second, 2)))
        up = F.pad(up, (0, second.shape[3] - up.shape[3], 0, second.shape[2] - up.shape[2]))
        up = self.after(torch.cat([second, up], 1))
        up = F.interpolate(up, scale_factor=2, mode="bilinear")
        up = self.last(torch.cat([up, first], 1))[:, :, 1:-1, 2:-2]
        return torch.sigmoid(self.head(F.pad(up, (1, 1, 1, 1), "reflect")))


class Upscaler(nn.Module):
    """ESPCN with EDSR's way up: shuffled pixels in the middle and at the end."""

    shape = (1, 3, 10, 14)
    #: The image that it returns.
    transforms = 1

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 5, 1, 2), nn.Conv2d(16, 64, 3, 1, 1)
        self.third, self.last = nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 12, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.second(torch.clamp(self.first(x), -2, 2)))
        x = self.third(F.relu(F.pixel_shuffle(x, 2)))
        return F.pixel_shuffle(self.last(x), 2)


class Focus(nn.Module):
    """YOLOv5's first layer, and space to depth in the middle."""

    shape = (1, 3, 16, 24)
    #: The image that it is given.
    transforms = 1

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = _conv(12, 16, 3), _conv(64, 16, 3), _conv(64, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self._quarters(self.first(self._quarters(x))))
        return self.third(F.pixel_unshuffle(x, 2)).mean((2, 3))

    @staticmethod
    def _quarters(x: torch.Tensor) -> torch.Tensor:
        parts = [x[..., top::2, left::2] for left in (0, 1) for top in (0, 1)]
        return torch.cat(parts, 1)


class _Mixed(nn.Module):
    """A block of Segformer: attention over a smaller image, and a depthwise convolution."""

    def __init__(self, channels: int, ratio: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.keys = nn.Linear(channels, 2 * channels)
        self.smaller = nn.Conv2d(channels, channels, ratio, ratio) if ratio > 1 else None
        self.norm = nn.LayerNorm(channels)
        self.enter, self.leave = nn.Linear(channels, 32), nn.Linear(32, channels)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)

    def forward(self, x: torch.Tensor, height: int, width: int) -> torch.Tensor:
        batch, places, channels = x.shape
        y = self.before(x)
        query = self.query(y).view(batch, places, self.heads, -1).transpose(1, 2)
        if self.smaller is not None:
            image = y.transpose(1, 2).reshape(batch, channels, height, width)
            y = self.norm(self.smaller(image).flatten(2).transpose(1, 2))
        key, value = self.keys(y).view(batch, -1, 2, self.heads, channels // self.heads).unbind(2)
        mixed = F.scaled_dot_product_attention(query, key.transpose(1, 2), value.transpose(1, 2))
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, places, channels))
        image = self.enter(self.between(x)).transpose(1, 2).view(batch, -1, height, width)
        return x + self.leave(F.gelu(self.depthwise(image).flatten(2).transpose(1, 2)))


class Segmenter(nn.Module):
    """Segformer in small: two stages, and a head that joins them."""

    shape = (1, 3, 32, 32)
    #: Between images and rows of tokens: after each convolution, before each, and of the levels.
    transforms = 10

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.ModuleList([nn.Conv2d(3, 16, 7, 4, 3), nn.Conv2d(16, 24, 3, 2, 1)])
        self.norms = nn.ModuleList([nn.LayerNorm(16), nn.LayerNorm(24)])
        self.blocks = nn.ModuleList([_Mixed(16, 2), _Mixed(24, 1)])
        self.heads = nn.ModuleList([nn.Linear(16, 16), nn.Linear(24, 16)])
        self.fuse, self.classify = nn.Conv2d(32, 16, 1), nn.Conv2d(16, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = []
        for embed, norm, block, head in zip(
            self.embed, self.norms, self.blocks, self.heads, strict=True
        ):
            x = embed(x)
            batch, _, height, width = x.shape
            tokens = block(norm(x.flatten(2).transpose(1, 2)), height, width)
            x = tokens.transpose(1, 2).reshape(batch, -1, height, width)
            level = head(tokens).transpose(1, 2).reshape(batch, -1, height, width)
            levels.append(F.interpolate(level, (8, 8), mode="bilinear"))
        return self.classify(F.relu(self.fuse(torch.cat(levels, 1)))).mean((2, 3))


NETWORKS: tuple[type[nn.Module], ...] = (Detector, Shuffles, Decoder, Upscaler, Focus, Segmenter)
