"""LSTM, GRU and RNN in every form go in as what they are, and compute what torch does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch_modules import errors_of, wrong_of

STEPS, ROWS, WIDTH = 4, 2, 6

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("LSTM", {"num_layers": 2, "bidirectional": True}),
    "lstm_projected": ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 3}),
    "lstm_batch_first": ("LSTM", {"num_layers": 2, "batch_first": True, "bias": False}),
    "gru": ("GRU", {"num_layers": 2, "bidirectional": True}),
    "rnn": ("RNN", {"num_layers": 2, "bidirectional": True, "nonlinearity": "relu"}),
}


class Layers(nn.Module):
    """Each form with states that are given; the LSTMs of a single row too."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {name: getattr(nn, kind)(WIDTH, 5, **rest) for name, (kind, rest) in FORMS.items()}
        )

    def forward(self, x: torch.Tensor, states: torch.Tensor) -> dict[str, Any]:
        results = {}
        for name, layer in self.layers.items():
            given = x.transpose(0, 1) if layer.batch_first else x
            count = layer.num_layers * (2 if layer.bidirectional else 1)
            hidden = states[:count, :, : layer.proj_size or 5]
            if layer.mode != "LSTM":
                results[name] = layer(given, hidden)
                continue
            cell = states[:count].flip(1)
            output, (last, _) = layer(given, (hidden, cell))
            # What follows has the shapes of the states.
            results[name] = (output, last[-1] @ last[-1].T)
            results[f"{name}_single"] = layer(x[:, 0], (hidden[:, 0], cell[:, 0]))
        return results


class Double(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(WIDTH, 5, bidirectional=True).double()

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        return {"gru": self.layer(x)}


def test_layers_of_float64_compute_in_it(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((STEPS, ROWS, WIDTH))
    assert wrong_of(errors_of(Double(), {"x": x}, tmp_path), 1e-12) == {}


def test_recurrent_layers_with_states_go_in_directly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    inputs = {
        "x": random.standard_normal((STEPS, ROWS, WIDTH), np.float32),
        "states": random.standard_normal((4, ROWS, 5), np.float32),
    }
    errors = errors_of(Layers(), inputs, tmp_path)
    assert len(errors) == 3 * (2 + 3) + 2 * 2
    assert wrong_of(errors, 1e-5) == {}
