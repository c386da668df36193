"""Converters run in processes of their own, and the fastest right form of a model takes part."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import toy_converters
from onnx import helper, numpy_helper

from tunekit.cache import ContentCache
from tunekit.models import load_source
from tunekit.recipe import load_recipe
from tunekit.runtimes.conversion import ConversionFailed, in_shapes, run_tool
from tunekit.runtimes.runtime import Preparation

Prepare = Callable[..., "dict[str, Any]"]


@pytest.fixture(scope="module")
def preparation(tmp_path_factory: pytest.TempPathFactory) -> Preparation:
    """Of a model that doubles its input."""
    folder = tmp_path_factory.mktemp("doubling")
    shape = [1, 6]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.float32(2).reshape(1), "two")],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, folder / "model.onnx")
    (folder / "recipe.yaml").write_text("name: doubling\nmodel: {source: model.onnx}\n")
    recipe = load_recipe(folder / "recipe.yaml")
    cache = ContentCache(folder / "cache")
    source = load_source(recipe.model, cache=cache)
    inputs = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(shape)}
    reference = [inputs["x"] * 2]
    return Preparation(recipe, source, inputs, cache, 1, lambda _: None, reference, 1e-3)


@pytest.fixture(scope="module")
def doubling(preparation: Preparation) -> dict[str, Any]:
    return toy_converters.Doubling.prepare(preparation)


def test_the_fastest_form_that_is_right_takes_part(doubling: dict[str, Any]) -> None:
    assert doubling["factor"] == 2
    assert doubling["wait_s"] == 0.002
    assert doubling["shown"]["form"] == "right"
    # What the converter wants to be told of a form is told with it.
    assert doubling["shown"]["of"] == ["x"]


def test_every_form_says_what_it_took_or_what_is_wrong_with_it(doubling: dict[str, Any]) -> None:
    said = doubling["shown"]["forms"]
    assert list(said) == ["slow", "right", "quick and wrong", "crashes"]
    assert said["right"].endswith(" ms")
    assert "ms, wrong outputs: relative error 0.34" in said["quick and wrong"]
    assert said["crashes"].startswith("SIGSEGV (segmentation fault)")


def test_what_was_converted_is_found_again(
    preparation: Preparation, doubling: dict[str, Any]
) -> None:
    factor = Path(doubling["folder"]) / "factor"
    before = factor.stat().st_mtime_ns
    assert toy_converters.Doubling.prepare(preparation) == doubling
    assert factor.stat().st_mtime_ns == before


def test_where_no_form_is_right_the_fastest_is_raced_and_told_as_wrong(
    preparation: Preparation,
) -> None:
    assert toy_converters.Wrong.prepare(preparation)["shown"]["form"] == "quick and wrong"


@pytest.mark.parametrize(
    ("runtime", "reason"),
    [
        (
            toy_converters.CrashesConverting,
            'SIGSEGV (segmentation fault), after printing "reading the graph" (while converting)',
        ),
        (toy_converters.Refuses, "RuntimeError: no layer for Mul (while converting)"),
    ],
)
def test_a_converter_that_fails_says_how_and_leaves_nothing(
    preparation: Preparation, runtime: type[toy_converters.Doubling], reason: str
) -> None:
    with pytest.raises(ConversionFailed) as raised:
        runtime.prepare(preparation)
    assert str(raised.value) == reason
    kept = [folder.name for folder in (preparation.cache.root / "converted").iterdir()]
    assert not [name for name in kept if name.startswith(".")]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("no layer for Mul", "no layer for Mul"),
        # As compilers do: a place, the line there, and where in it.
        (r"a.mlir:3:5: error: no layer for Mul\n  %1 = mul %0\n       ^", "no layer for Mul"),
    ],
)
def test_a_converter_that_is_a_program_is_told_by_its_error_or_its_last_words(
    written: str, told: str
) -> None:
    program = f"import sys; print('so far so good'); sys.exit('{written}')"
    with pytest.raises(RuntimeError, match=rf"^mulc failed: {told}$"):
        run_tool("mulc", sys.executable, "-c", program)
    assert run_tool("mulc", sys.executable, "-c", "print('done')").split() == ["done"]


def test_outputs_without_a_batch_axis_get_it_back_and_others_stay() -> None:
    outputs = [((1, 2, 3), "float32"), ((1, 4), "float32")]
    whole, short = in_shapes([np.zeros((2, 3)), np.zeros(3)], outputs)
    assert (whole.shape, short.shape) == ((1, 2, 3), (3,))
