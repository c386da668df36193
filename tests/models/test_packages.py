"""Models of other packages: a file that one ships, and a package that is not installed."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tunekit.cache import ContentCache
from tunekit.errors import ModelFileError
from tunekit.models import import_model, load_source
from tunekit.recipe import InputSpec, ModelSpec

INPUTS = (InputSpec(name="x", shape=(3, 4, 5)),)


def test_a_file_that_a_package_ships_is_a_model(tmp_path: Path) -> None:
    spec = ModelSpec(
        source="python:tunekit.models.packages:shipped_file",
        arguments={"package": "onnxruntime", "path": "datasets/sigmoid.onnx"},
        inputs=INPUTS,
    )
    imported = import_model(spec, max_relative_error=1e-6, cache=ContentCache(tmp_path))
    assert [input_.name for input_ in imported.inputs] == ["x"]
    assert [output.name for output in imported.outputs] == ["y"]


def test_a_file_that_a_package_changed_is_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package_with_a_model"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = ModelSpec(
        source="python:tunekit.models.packages:shipped_file",
        arguments={"package": package.name, "path": "model.onnx"},
        inputs=INPUTS,
    )
    digests = []
    for operator in ("Neg", "Exp"):
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 4, 5]) for name in "xy")
        graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [x], [y])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        onnx.save(model, package / "model.onnx")
        digests.append(load_source(spec).digest)
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("function", "arguments", "package"),
    [
        ("shipped_file", {"package": "no_such_package", "path": "x.onnx"}, "no-such-package"),
        ("_package", {"name": "no-such-package", "module": "no_such.tasks"}, "no-such-package"),
    ],
)
def test_a_package_that_is_missing_is_named(
    function: str, arguments: dict[str, str], package: str
) -> None:
    spec = ModelSpec(
        source=f"python:tunekit.models.packages:{function}", arguments=arguments, inputs=INPUTS
    )
    with pytest.raises(ModelFileError, match=f"package {package}, which is not installed") as told:
        load_source(spec)
    assert told.value.hint == f"pip install {package}"
