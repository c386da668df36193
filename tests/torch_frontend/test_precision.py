"""Modules in half, bfloat16 and double: as they are, or in float32 where the recipe says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch_modules import errors_of, wrong_of

from tunekit.ir.relax import bindings_of
from tunekit.models import load_source
from tunekit.models.sources.torch_model import TorchModel, Weights
from tunekit.models.spec import TensorSpec
from tunekit.recipe import InputSpec, ModelSpec

DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f64": torch.float64}


class Network(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.classifier = nn.Linear(8, 5)
        self.to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = self.convolution(x.to(self.classifier.weight.dtype)).relu()
        return self.classifier(self.norm(pixels.mean((2, 3))))


class Networks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.networks = nn.ModuleDict({name: Network(dtype) for name, dtype in DTYPES.items()})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: network(x) for name, network in self.networks.items()}


def picture() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((1, 3, 12, 12), np.float32)}


@pytest.mark.parametrize("is_single", [False, True])
def test_modules_of_any_width_compute_what_torch_does(tmp_path: Path, is_single: bool) -> None:
    errors = errors_of(Networks(), picture(), tmp_path, is_single=is_single)
    assert list(errors) == list(DTYPES)
    assert errors["f16"].within(4e-3)
    assert errors["bf16"].within(3e-2)
    assert errors["f64"].within(1e-6 if is_single else 1e-12)
    assert wrong_of(errors, 3e-2) == {}


def test_in_single_precision_nothing_is_computed_in_another_width() -> None:
    inputs = [TensorSpec("x", (1, 3, 12, 12), "float16")]
    model = TorchModel(
        "half", "digest", 0, inputs, lambda: Network(torch.float16), Weights(random=False)
    )
    model.is_single = True
    pairs = bindings_of(model.to_relax()["main"])
    assert pairs is not None
    widths = [str(var.ty.dtype) for var, _ in pairs]
    # The result, as it is returned, and nothing before it.
    returned = widths.index("float16")
    assert set(widths[:returned]) == {"float32"}
    assert set(widths[returned:]) == {"float16"}


def test_the_limit_of_a_comparison_fits_the_shortest_float_of_a_module() -> None:
    inputs = [TensorSpec("x", (1, 3, 12, 12), "float32")]
    steps = {}
    for name, dtype in {**DTYPES, "f32": torch.float32}.items():
        model = TorchModel(
            name, "digest", 0, inputs, lambda dtype=dtype: Network(dtype), Weights(random=False)
        )
        steps[name] = model.rounding_step([])
    assert steps == {"f16": 2.0**-8, "bf16": 2.0**-5, "f64": 0.0, "f32": 0.0}


def test_a_recipe_says_what_a_model_is_computed_in() -> None:
    inputs = (InputSpec(name="x", shape=(1, 4)),)
    spec = ModelSpec(source="python:torch.nn:Identity", inputs=inputs, precision="float32")
    plain = load_source(spec.model_copy(update={"precision": "model"}))
    assert load_source(spec).is_single
    assert not plain.is_single
    assert load_source(spec).digest != plain.digest
