"""Elements that a mask chooses, computed where they are as long as their number does not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_modules import errors_of, wrong_of

from tunekit.errors import ImportFailed
from tunekit.models.sources.torch_model import TorchModel, Weights
from tunekit.models.spec import TensorSpec


class Chosen(torch.nn.Module):
    """Leaky ReLU by hand, and what losses and metrics are made of."""

    def forward(self, x: torch.Tensor, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        leaky = x.clone()
        leaky[leaky < 0] = leaky[leaky < 0] * 0.1
        both = x.clone()
        mask = x > 0.3
        both[mask] = (x[mask] + x.exp()[mask]).sqrt()
        kept = x.clone()
        valid = rows > 0
        kept[valid] = x[valid] * torch.arange(6.0) + 1
        return {
            "leaky": leaky,
            "both": both,
            "rows": kept,
            "sum": x[mask].sum(),
            "mean": (x[mask] ** 2).mean(),
            "largest": x[x < 0].max(),
            "smallest": x[x > 0].exp().amin(),
        }


def test_elements_that_a_mask_chooses_are_those_of_torch(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    inputs = {
        "x": random.standard_normal((5, 6)).astype("float32"),
        "rows": np.array([1, 0, 0, 1, 1]),
    }
    errors = errors_of(Chosen().eval(), inputs, tmp_path)
    assert len(errors) == 7
    assert wrong_of(errors, 1e-5) == {}


class Open(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x > 0] * 2


def test_a_result_of_as_many_elements_as_were_chosen_is_refused() -> None:
    model = TorchModel(
        "open", "digest", 0, [TensorSpec("x", (4, 6), "float32")], Open, Weights(random=False)
    )
    with pytest.raises(ImportFailed, match="depends on the values of its inputs"):
        model.to_relax()
