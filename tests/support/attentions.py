"""Attention in the forms that people write it, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

Tensors = tuple[torch.Tensor, ...]


class Attentions(nn.Module):
    """Of packed projections: torch's operator and the products by hand, masked in every way."""

    shapes = ((2, 13, 96), (13, 13), (2, 13))
    #: Attentions among what it returns.
    count = 8

    def __init__(self) -> None:
        super().__init__()
        self.project, self.out = nn.Linear(96, 96), nn.Linear(32, 32)
        self.register_buffer("allowed", torch.rand(13, 13) > 0.4)
        self.allowed[:, 0] = True
        self.position = nn.Parameter(torch.randn(4, 13, 13))

    def forward(self, x: torch.Tensor, bias: torch.Tensor, mask: torch.Tensor) -> Tensors:
        batch, places, _ = x.shape
        packed = self.project(x).view(batch, places, 3, 4, 8)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        by_hand = query @ key.transpose(-1, -2) / 8**0.5 + self.position + bias
        hidden = (1 - (mask > 0).float())[:, None, None, :] * -10_000
        unseen = (mask > 9)[:, None, None, :].expand(batch, 1, places, places)
        blind = (mask > 0)[:, None, :, None]
        seen = (query @ key.mT).masked_fill(blind, -torch.inf).softmax(-1)
        results = (
            F.scaled_dot_product_attention(query, key, value),
            F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.2),
            F.scaled_dot_product_attention(query, key, value, attn_mask=self.allowed),
            F.scaled_dot_product_attention(query, key, value, attn_mask=hidden),
            # Rows that may see nothing.
            F.scaled_dot_product_attention(query, key, value, attn_mask=unseen),
            by_hand.softmax(-1) @ value,
            # As exporters to ONNX write it.
            torch.where(torch.isnan(seen), 0.0, seen) @ value,
            # With a value whose places are not neighbours.
            torch.softmax((query * 0.3) @ key.mT, -1) @ value.mT.contiguous().mT,
        )
        heads = [result.transpose(1, 2).reshape(batch, places, 32) for result in results[:-1]]
        return *(self.out(joined) for joined in heads), results[-1]


class Windows(nn.Module):
    """Shifted windows, as Swin has them, and queries that share keys."""

    shapes = ((8, 16, 32), (1, 4, 9, 16), (1, 2, 18, 16))
    count = 3

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(32, 96)
        self.bias = nn.Parameter(torch.randn(2, 16, 16))
        self.register_buffer("mask", (torch.rand(4, 16, 16) > 0.3).float() * -100)

    def forward(self, x: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> Tensors:
        count, places, size = x.shape
        query_, key_, value_ = self.project(x).view(count, places, 3, 2, 16).permute(2, 0, 3, 1, 4)
        scores = query_ * 0.25 @ key_.transpose(-2, -1) + self.bias
        scores = scores.view(2, 4, 2, places, places) + self.mask[None, :, None]
        windows = scores.view(-1, 2, places, places).softmax(-1) @ value_
        return (
            windows.transpose(1, 2).reshape(count, places, size),
            F.scaled_dot_product_attention(query, key, key[..., :12], enable_gqa=True),
            F.scaled_dot_product_attention(query, key[:, :1], key[:, 1:]),
        )


class Lookalikes(nn.Module):
    """What is no attention, or not worth a kernel: scores that are wanted, a softmax over queries,
    few queries, something between the weights and the values."""

    shapes = ((2, 12, 16),)
    count = 0

    def forward(self, x: torch.Tensor) -> Tensors:
        scores = x @ x.mT
        weights = scores.softmax(-1)
        few = x[:, :3]
        return (
            weights @ x,
            weights,
            (x @ (2 * x).mT).softmax(1) @ x,
            (few @ x.mT).softmax(-1) @ x,
            ((x @ (3 * x).mT).softmax(-1) + 1) @ x,
        )
