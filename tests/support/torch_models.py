"""Small torch models that the tests of importing use; built by name through ``python:``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Indexing(nn.Module):
    """(2, 5, 6) -> what every kind of indexing with negative numbers gives, by its name."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "select": x[:, -1],
            "select_last_dim": x.select(-1, -2),
            "slice": x[:, -3:-1],
            "step": x[:, 1::2, -5:],
            "list": x[:, [-1, 0, -2]],
            "zipped": x[[0, -1], [-1, 2]],
            "narrow": x.narrow(1, -4, 2) + x.narrow(1, 1, 2),
            "roll": x.roll(-2, 1) + x.roll((1, -1), (1, -1)),
            "take": torch.take(x, torch.tensor([[0, -1], [7, -30]])),
            "unbind": x.unbind(1)[-1] + 1,
            "chunk": x.chunk(2, -1)[-1] + 1,
            "flip": x.flip(-1),
            "index_select": x.index_select(-1, torch.tensor([5, 0])),
        }


class ConvolutionsAndNorms(nn.Module):
    """Every place that a batch normalization can stand in."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8))
        self.biased = nn.Sequential(nn.Conv2d(8, 8, 3, groups=4), nn.BatchNorm2d(8))
        self.before = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
        self.transposed = nn.Sequential(
            nn.ConvTranspose2d(8, 12, 2, stride=2, groups=2), nn.BatchNorm2d(12)
        )
        self.shared = nn.Conv2d(12, 6, 1)
        self.shared_norm = nn.BatchNorm2d(6, affine=False, eps=0.1)
        self.linear = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.transposed(self.before(self.biased(self.plain(x))))
        # Used twice: its convolution must not be scaled.
        shared = self.shared(x)
        x = torch.relu(self.shared_norm(shared)) + shared
        scores: torch.Tensor = self.linear(x.mean((2, 3)))
        return scores


class Picture(nn.Module):
    """Scores of images whose channels come first."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.convolution(x)).mean((2, 3))


class ScaledAndShifted(nn.Module):
    """Each array `times` a plain number, and a shift."""

    def forward(self, x: torch.Tensor, times: int, shift: torch.Tensor) -> torch.Tensor:
        for _ in range(times):
            x = x + x
        return x + shift


class SmallBert(nn.Module):
    """Embeddings and one layer of attention, with the inputs that BERT has."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.places = nn.Embedding(32, 16)
        self.types = nn.Embedding(2, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        x = self.words(input_ids)
        if position_ids is not None:
            x = x + self.places(position_ids.view(-1, x.shape[1]) + 2)
        if token_type_ids is not None:
            x = x + self.types(token_type_ids)
        lowest = torch.finfo(torch.float32).min
        scores = (1.0 - attention_mask[:, None, None, :].float()) * lowest
        length = x.shape[1]
        result: torch.Tensor = self.layer(
            x, src_mask=scores.expand(-1, 2, length, -1).reshape(-1, length, length)
        )
        return result


class LogOfPowers(nn.Module):
    """The logarithm of a filter bank, as speech models begin with."""

    def __init__(self) -> None:
        super().__init__()
        self.bank = nn.Parameter(torch.rand(9, 6))

    def forward(self, power: torch.Tensor) -> torch.Tensor:
        return torch.log(power @ self.bank)


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(x.shape)


class WritesAt(nn.Module):
    """Writes into five columns of two rows, in two ways."""

    def forward(
        self, columns: torch.Tensor, rows: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        table = torch.zeros(2, 5)
        table[:, columns] = values
        return table.index_add(0, rows[:, 0], values.t()[:, :1].expand(-1, 5))


class TwoInputs(nn.Module):
    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        total = image * mask
        return {
            "scaled": total,
            "parts": [image - 1, (mask.sum(1), total.amax(-1) - image.amin((1, 2))[:, None])],
        }


class Attention(nn.Module):
    """Self-attention over (1, 6, 16): plain, causal, and with masks of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(16, 48)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        q, k, v = self.project(x).view(1, 6, 3, 4, 4).permute(2, 0, 3, 1, 4)
        attend = nn.functional.scaled_dot_product_attention
        floats = torch.linspace(-1, 1, 36).view(6, 6)
        booleans = torch.eye(6, dtype=torch.bool) | (torch.arange(6) < 3)
        return {
            "plain": attend(q, k, v),
            "causal": attend(q, k, v, is_causal=True),
            "float": attend(q, k, v, attn_mask=floats, scale=0.3),
            "bool": attend(q, k, v, attn_mask=booleans),
        }


class Unsupported(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 1), Bessel())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.inner(x)
        return result


class Bessel(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


class DataDependent(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return -x


class NotANumber(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - 100).sqrt()


class Trained(nn.Module):
    """Looks trained: its normalization has statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        assert self.norm.running_mean is not None
        self.norm.running_mean.fill_(0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.norm(x)
        return result


class SqueezeAndExcite(nn.Module):
    """(n, 4, h, w) -> (n, 4, h, w), with the activations of mobile networks."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(4), nn.SiLU()
        )
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.ReLU6(), nn.Conv2d(2, 4, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.depthwise(x)
        gated = features * torch.sigmoid(self.gate(features)) + x
        resized = nn.functional.interpolate(gated, scale_factor=2.0, mode="nearest")
        result: torch.Tensor = nn.functional.hardswish(nn.functional.max_pool2d(resized, 2))
        return result


def squeeze_and_excite() -> nn.Module:
    return SqueezeAndExcite()


def indexing() -> nn.Module:
    return Indexing()


def convolutions_and_norms() -> nn.Module:
    return ConvolutionsAndNorms()


def two_inputs() -> nn.Module:
    return TwoInputs()


def attention() -> nn.Module:
    return Attention()


def unsupported() -> nn.Module:
    return Unsupported()


def data_dependent() -> nn.Module:
    return DataDependent()


def not_a_number() -> nn.Module:
    return NotANumber()


def trained() -> nn.Module:
    return Trained()


def small_linear(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, width))


def raises() -> nn.Module:
    raise RuntimeError("the callable's own words")


def not_a_model() -> int:
    return 3
