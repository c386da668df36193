"""Transformers as BERT has them, with random weights, for the benchmark of imports."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        scores = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self.first(x + self.out(scores.transpose(1, 2).flatten(2)))
        y: torch.Tensor = self.second(x + self.down(gelu(self.up(x))))
        return y


class Bert(nn.Module):
    """Token ids, mask and types (n, tokens) int64 to (n, tokens, width) and (n, width)."""

    def __init__(self, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.words, self.types = nn.Embedding(30522, width), nn.Embedding(2, width)
        self.places = nn.Parameter(torch.randn(512, width))
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.pooler = nn.Linear(width, width)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.words(input_ids) + self.places[: input_ids.shape[1]] + self.types(token_type_ids)
        x = self.norm(x)
        lowest = torch.finfo(torch.float32).min
        mask = (1.0 - attention_mask[:, None, None, :].float()) * lowest
        for layer in self.layers:
            x = layer(x, mask)
        return x, self.pooler(x[:, 0]).tanh()


def bert_base() -> nn.Module:
    return Bert(layers=12, width=768, heads=12)


def minilm_l6() -> nn.Module:
    return Bert(layers=6, width=384, heads=12)
