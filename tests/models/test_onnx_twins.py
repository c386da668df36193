"""Networks that torch exports to ONNX, by both of its exporters, become what the torch module does.

Normalizations get numbers: with those of a new network an exporter leaves out what adds nothing.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx_nodes import by_tunekit

from tunekit.accuracy import compare
from tunekit.cache import ContentCache
from tunekit.graph.prepare import PreparedGraph, prepare
from tunekit.graph.tasks import extract_tasks
from tunekit.machine.target import resolve_target
from tunekit.models import import_model
from tunekit.onnx_frontend import proto_to_relax
from tunekit.recipe import InputSpec, ModelSpec, load_recipe
from tunekit.torch_frontend import export_program, program_to_relax

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
TWENTY = (
    *("alexnet", "vgg11_bn", "squeezenet1_1", "googlenet", "densenet169", "resnet34"),
    *("resnext50_32x4d", "wide_resnet50_2", "mnasnet1_0", "mobilenet_v3_small"),
    *("mobilenet_v3_large", "shufflenet_v2_x1_0", "efficientnet_b0", "efficientnet_v2_s"),
    *("regnet_y_400mf", "regnet_x_800mf", "convnext_tiny", "swin_t", "swin_v2_t", "vit_b_32"),
)
# What the builders of tunekit.models.packages need.
PACKAGES = {"segmentation": "segmentation_models_pytorch"}
EXPORTERS = {"TorchScript": False, "dynamo": True}


def network(name: str) -> torch.nn.Module:
    """A network of torchvision whose normalizations do something."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            for values in (layer.running_mean, layer.bias):
                torch.nn.init.normal_(values, std=0.1)
    return model


def export(
    model: torch.nn.Module,
    arguments: torch.Tensor | tuple[torch.Tensor, ...],
    path: Path,
    dynamo: bool,
    names: Sequence[str] = ("x",),
) -> None:
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    with warnings.catch_warnings():
        # The older exporter says that it is one, the newer what it itself uses of torch.
        warnings.simplefilter("ignore")
        extra: dict[str, Any] = {"verbose": False} if dynamo else {}
        given = arguments if isinstance(arguments, tuple) else (arguments,)
        # Which the older one cannot write; a module takes it where nothing needs a gradient.
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            torch.onnx.export(model, given, str(path), dynamo=dynamo, input_names=[*names], **extra)
        except torch.onnx.errors.UnsupportedOperatorError as error:
            pytest.skip(f"torch cannot export it: {error}")
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_attention)


class Prepared(NamedTuple):
    """What a module becomes: how many kernels of each amount of work, and transforms."""

    kernels: Counter[float]
    transforms: int


def prepared(module: Any) -> Prepared:
    target = resolve_target("native")
    graph: PreparedGraph = prepare(module, target, "auto")
    heavy = (task.flops for task in extract_tasks(graph, target))
    return Prepared(Counter(flops for flops in heavy if flops > 1e5), graph.transforms)


@functools.cache
def mobilenet() -> tuple[torch.nn.Module, torch.Tensor, Prepared]:
    """A network, a picture, and what the network becomes without an exporter."""
    model, image = network("mobilenet_v2"), torch.randn(1, 3, 32, 32)
    program = export_program(model, [image], "torch")
    return model, image, prepared(program_to_relax(program, ["x"], "torch"))


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_exported_network_has_the_kernels_and_the_outputs_of_the_torch_module(
    exporter: str, tmp_path: Path
) -> None:
    """One with ReLU6, which both exporters write as a Clip with inputs."""
    model, image, expected = mobilenet()
    export(model, image, tmp_path / "twin.onnx", EXPORTERS[exporter])
    twin = onnx.load(tmp_path / "twin.onnx")
    imported = prepared(proto_to_relax(twin, ["x"], "twin"))
    assert imported.transforms == expected.transforms == 0
    assert sum(imported.kernels.values()) == sum(expected.kernels.values())
    with torch.no_grad():
        outputs = model(image).numpy()
    actual = by_tunekit(twin, {"x": image.numpy()})
    assert compare([outputs], [np.asarray(array) for array in actual]).within(1e-4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", TWENTY)
def test_twenty_networks_get_in_by_both_exporters(name: str, exporter: str, tmp_path: Path) -> None:
    inputs = (InputSpec(name="x", shape=(1, 3, 224, 224)),)
    export(network(name), torch.randn(1, 3, 224, 224), tmp_path / "twin.onnx", EXPORTERS[exporter])
    _get_in(inputs, tmp_path)


def modules_of_recipes() -> list[str]:
    """The recipes of torch modules. Detectors are none of a graph, ONNX files are as they are."""
    return sorted(
        path.stem
        for path in RECIPES.glob("*.yaml")
        if not path.stem.endswith("_onnx") and load_recipe(path).model.detector is None
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", modules_of_recipes())
def test_every_shipped_network_gets_in_by_both_exporters(
    name: str, exporter: str, tmp_path: Path
) -> None:
    from tunekit.models import load_source
    from tunekit.models.sources.torch_model import TorchModel

    recipe = load_recipe(RECIPES / f"{name}.yaml")
    package = recipe.model.source.rpartition(":")[2]
    if recipe.model.source.startswith("python:tunekit.models.packages"):
        pytest.importorskip(PACKAGES.get(package, package))
    source = load_source(recipe.model, ContentCache(tmp_path / "cache"))
    assert isinstance(source, TorchModel)
    arguments = tuple(source.arguments(source.sample_inputs(0)))
    names = [spec.name for spec in source.inputs]
    export(source.torch_module(), arguments, tmp_path / "twin.onnx", EXPORTERS[exporter], names)
    _get_in(recipe.model.inputs, tmp_path)


def _get_in(inputs: tuple[InputSpec, ...], folder: Path) -> None:
    spec = ModelSpec(source=str(folder / "twin.onnx"), inputs=inputs)
    imported = import_model(spec, max_relative_error=1e-3, cache=ContentCache(folder / "cache"))
    assert prepared(imported.module).kernels
