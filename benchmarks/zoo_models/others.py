"""Networks on points, tables, series and sound, and torch's own transformer."""

from __future__ import annotations

import torch
from torch import nn


class PointNet(nn.Module):
    """Points (n, 3, points) to classes (Qi et al., 2017), without the input transform."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, 64), (64, 64), (64, 128), (128, 1024)]
        self.points = nn.Sequential(
            *(
                layer
                for before, after in sizes
                for layer in (nn.Conv1d(before, after, 1), nn.BatchNorm1d(after), nn.ReLU())
            )
        )
        self.classes = nn.Sequential(
            *(nn.Linear(1024, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 40))
        )

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classes(self.points(points).amax(2))
        return scores


class Recommender(nn.Module):
    """Numbers (n, 13) and category ids (n, 26) to a click's logit: DLRM (Naumov et al., 2019)."""

    def __init__(self, rows: int = 5000, width: int = 32) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(rows, width, mode="sum") for _ in range(26))
        self.numbers = nn.Sequential(nn.Linear(13, 256), nn.ReLU(), nn.Linear(256, width))
        pairs = 27 * 26 // 2
        self.top = nn.Sequential(nn.Linear(width + pairs, 256), nn.ReLU(), nn.Linear(256, 1))
        self.register_buffer("rows", torch.triu_indices(27, 27, 1), persistent=False)

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        dense = self.numbers(numbers)
        parts = [table(categories[:, i : i + 1]) for i, table in enumerate(self.tables)]
        features = torch.stack([dense, *parts], 1)
        products = features @ features.transpose(1, 2)
        pairs = products[:, self.rows[0], self.rows[1]]
        logit: torch.Tensor = self.top(torch.cat([dense, pairs], 1))
        return logit


class TemporalConvolutions(nn.Module):
    """A series (n, channels, t) to classes: dilated causal convolutions (Bai et al., 2018)."""

    def __init__(self, channels: int = 12, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, width, 1)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=2 << level, dilation=1 << level)
            for level in range(6)
        )
        self.classes = nn.Linear(width, 10)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        x = self.first(series)
        for layer in self.layers:
            x = torch.relu(x + torch.relu(layer(x)[..., : x.shape[-1]]))
        scores: torch.Tensor = self.classes(x[..., -1])
        return scores


class NBeats(nn.Module):
    """A window (n, 96) to a forecast (n, 24): stacks of residual blocks (Oreshkin et al., 2020)."""

    def __init__(self, blocks: int = 6, width: int = 256) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(nn.Linear(96, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()),
                nn.Linear(width, 96 + 24),
            )
            for _ in range(blocks)
        )

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        forecast = torch.zeros_like(window[:, :24])
        for block in self.blocks:
            past, future = block(window).split([96, 24], 1)
            window, forecast = window - past, forecast + future
        return forecast


class ConvTasNet(nn.Module):
    """Sound (n, 1, t) to that of two speakers (n, 2, t) (Luo and Mesgarani, 2019), small."""

    def __init__(self, width: int = 128, hidden: int = 256, blocks: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, 256, 16, 8, bias=False)
        self.norm, self.first = nn.GroupNorm(1, 256), nn.Conv1d(256, width, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(nn.Conv1d(width, hidden, 1), nn.PReLU(), nn.GroupNorm(1, hidden)),
                nn.Conv1d(
                    *(hidden, hidden, 3), padding=1 << level, dilation=1 << level, groups=hidden
                ),
                *(nn.PReLU(), nn.GroupNorm(1, hidden), nn.Conv1d(hidden, width, 1)),
            )
            for level in range(blocks)
        )
        self.masks = nn.Sequential(nn.PReLU(), nn.Conv1d(width, 512, 1), nn.Sigmoid())
        self.decoder = nn.ConvTranspose1d(256, 1, 16, 8, bias=False)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        encoded = self.encoder(sound)
        x = self.first(self.norm(encoded))
        for block in self.blocks:
            x = x + block(x)
        masks = self.masks(x).unflatten(1, (2, 256))
        speakers = (masks * encoded[:, None]).flatten(0, 1)
        result: torch.Tensor = self.decoder(speakers).unflatten(0, (-1, 2)).squeeze(2)
        return result


class KeywordSpotter(nn.Module):
    """Cepstra (n, 1, 49, 10) to keywords: a DS-CNN (Zhang et al., 2017)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, width, (10, 4), 2, (5, 1)), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(4):
            layers += [nn.Conv2d(width, width, 3, padding=1, groups=width), nn.BatchNorm2d(width)]
            layers += [nn.ReLU(), nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.words = nn.Linear(width, 12)

    def forward(self, cepstra: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.words(self.layers(cepstra))
        return scores


def torch_transformer(width: int = 256) -> nn.Module:
    """torch's own encoder and decoder: (n, t, width) twice to (n, t, width)."""
    return nn.Transformer(width, 8, 3, 3, 4 * width, batch_first=True)
