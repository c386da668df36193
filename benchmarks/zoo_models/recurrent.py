"""Recurrent networks, as papers and tutorials have them."""

from __future__ import annotations

import torch
from torch import nn


class Tagger(nn.Module):
    """Token ids (n, t) int64 to scores of tags (n, t, tags): a bidirectional LSTM."""

    def __init__(self, cell: str = "LSTM", width: int = 256, layers: int = 2) -> None:
        super().__init__()
        self.words = nn.Embedding(20000, 128)
        kind = getattr(nn, cell)
        self.cells = kind(128, width, layers, batch_first=True, bidirectional=True)
        self.tags = nn.Linear(2 * width, 17)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.tags(self.cells(self.words(tokens))[0])
        return scores


class LanguageModel(nn.Module):
    """Token ids (n, t) int64 to the scores of the next: two layers of LSTM."""

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.words = nn.Embedding(10000, width)
        self.cells = nn.LSTM(width, width, 2, batch_first=True)
        self.next = nn.Linear(width, 10000)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.next(self.cells(self.words(tokens))[0])
        return scores


class SequenceClassifier(nn.Module):
    """A series (n, t, channels) float32 to classes: GRUs, of whose states the last counts."""

    def __init__(self, channels: int = 12, width: int = 128) -> None:
        super().__init__()
        self.cells = nn.GRU(channels, width, 2, batch_first=True)
        self.classes = nn.Linear(width, 10)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classes(self.cells(series)[1][-1])
        return scores


class Crnn(nn.Module):
    """Lines of text (n, 1, 32, w) to scores of characters (w / 4 + 1, n, 37) (Shi et al., 2015)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(1, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(sizes):
            layers += [nn.Conv2d(before, after, 3, padding=1)]
            layers += [nn.BatchNorm2d(after)] if index in (2, 4) else []
            layers += [nn.ReLU()]
            if index in (0, 1):
                layers += [nn.MaxPool2d(2)]
            elif index in (3, 5):
                layers += [nn.MaxPool2d((2, 2), (2, 1), (0, 1))]
        self.features = nn.Sequential(*layers, nn.Conv2d(512, 512, 2), nn.ReLU())
        self.cells = nn.LSTM(512, 256, 2, bidirectional=True)
        self.characters = nn.Linear(512, 37)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        columns = self.features(images).squeeze(2).permute(2, 0, 1)
        scores: torch.Tensor = self.characters(self.cells(columns)[0])
        return scores


class DeepSpeech(nn.Module):
    """Spectra (n, 1, 161, t) to scores of characters: as Deep Speech 2 (Amodei et al., 2015)."""

    def __init__(self, width: int = 400) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, (41, 11), (2, 2), (20, 5)),
            nn.BatchNorm2d(32),
            nn.Hardtanh(0, 20),
            nn.Conv2d(32, 32, (21, 11), (2, 1), (10, 5)),
            nn.BatchNorm2d(32),
            nn.Hardtanh(0, 20),
        )
        self.cells = nn.GRU(32 * 41, width, 3, batch_first=True, bidirectional=True)
        self.characters = nn.Linear(2 * width, 29)

    def forward(self, spectra: torch.Tensor) -> torch.Tensor:
        steps = self.features(spectra).flatten(1, 2).transpose(1, 2)
        scores: torch.Tensor = self.characters(self.cells(steps)[0]).log_softmax(-1)
        return scores


class Translator(nn.Module):
    """Token ids (n, t) of two languages to scores of words: GRUs with attention (Luong, 2015)."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(8000, width), nn.Embedding(8000, width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.joined, self.words = nn.Linear(2 * width, width), nn.Linear(width, 8000)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        memory, state = self.encoder(self.source(source))
        queries, _ = self.decoder(self.target(target), state)
        weights = (queries @ memory.transpose(1, 2)).softmax(-1)
        joined = self.joined(torch.cat([queries, weights @ memory], -1)).tanh()
        scores: torch.Tensor = self.words(joined)
        return scores
