from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from compiled_detectors import Compiled, recipe_of

from tunekit.library import compile_recipe
from tunekit.models import load_source
from tunekit.models.sources.detector_model import DetectorModel
from tunekit.recipe.detector import DetectorSpec
from tunekit.recipe.schema import InputSpec, ModelSpec

Spec = Callable[..., ModelSpec]


def spec_of(
    source: str, shape: tuple[int, ...] = (1, 3, 96, 128), detector: Any = None, **rest: Any
) -> ModelSpec:
    """A recipe's model; detectors of `tiny_detectors` by their name alone."""
    source = source if ":" in source else f"python:tiny_detectors:{source}"
    given = None if detector is None else DetectorSpec.model_validate(detector)
    inputs = (InputSpec(name="image", shape=shape),)
    return ModelSpec(source=source, inputs=inputs, detector=given, **rest)


@cache
def tiny(name: str) -> DetectorModel:
    """A tiny detector with random weights, made once for all tests."""
    # As small as they are, threads would wait for each other.
    torch.set_num_threads(1)
    source = load_source(spec_of(name))
    assert isinstance(source, DetectorModel)
    return source


@pytest.fixture(scope="session")
def detector() -> Callable[[str], DetectorModel]:
    return tiny


@pytest.fixture(scope="session")
def spec() -> Spec:
    return spec_of


@pytest.fixture(
    scope="session",
    params=[
        "ssd",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("mask_rcnn", "keypoint_rcnn")),
    ],
)
def compiled(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Compiled:
    recipe = recipe_of(tmp_path_factory.mktemp("detector"), spec_of(request.param))
    said: list[str] = []
    library = compile_recipe(recipe, selection=False, say=said.append)
    return Compiled(library, said, tiny(request.param), recipe)
