"""NaN and infinity go through a library as they go through torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from special_numbers import NUMBERS
from torch import nn
from torch_modules import errors_of, wrong_of

FORMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "clamp": lambda x: x.clamp(-1, 2),
    "clamp_min": lambda x: x.clamp(min=0),
    "clamp_max": lambda x: x.clamp(max=1),
    "clamp_tensors": lambda x: torch.clamp(x, x.flip(0), x.flip(1)),
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "maximum": lambda x: torch.maximum(x, x.flip(0)),
    "minimum": lambda x: torch.minimum(x, x.flip(0)),
    "fmax": lambda x: torch.fmax(x, x.flip(0)),
    "fmin": lambda x: torch.fmin(x, x.flip(0)),
    "isnan": torch.isnan,
    "not_itself": lambda x: x != x,
    "itself": lambda x: ~(x == x),
    "not_equal": lambda x: x != x.flip(0),
    "not_less": lambda x: ~(x < x.flip(0)),
    "boolean": lambda x: x.bool(),
    "nan_to_num": torch.nan_to_num,
    "nan_to_num_given": lambda x: torch.nan_to_num(x, 1.0, 2.0, 3.0),
    "nansum": lambda x: torch.nansum(x, 1),
    "any": lambda x: x.any(1),
    "all": lambda x: x.all(1),
    "by_zero": lambda x: x / 0,
    "by_negative_zero": lambda x: x / -0.0,
    # Of infinities alone.
    "amax": lambda x: x[2::2].amax(1),
    "amin": lambda x: x[2::2].amin(1),
    "argmax": lambda x: x[2::2].argmax(1),
    "argmin": lambda x: x[2::2].argmin(1),
    "max_pool": lambda x: F.max_pool1d(x[2::2], 2),
    "logsumexp": lambda x: torch.logsumexp(x, 1),
    "softmax": lambda x: torch.softmax(x, 1),
}


class Forms(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: form(x) for name, form in FORMS.items()}


def test_nan_and_infinity_are_what_torch_makes_of_them(tmp_path: Path) -> None:
    errors = errors_of(Forms(), {"x": np.array(NUMBERS, np.float32)}, tmp_path)
    assert len(errors) == len(FORMS)
    assert wrong_of(errors, 1e-5) == {}
