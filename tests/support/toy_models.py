"""Small torch models with what breaks runtimes: two inputs, integers, nested outputs."""

from __future__ import annotations

import torch


class Nested(torch.nn.Module):
    """An image and word numbers to a dictionary with a tuple in it."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 3)
        self.words = torch.nn.Embedding(10, 4)

    def forward(self, image, ids):
        features = self.convolution(image)
        pooled = features.sum((2, 3)) + self.words(ids).sum(1)
        return {"features": features, "rest": (pooled, ids + 1)}
