"""A compiled library runs where Python is, and says in one message what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tunekit.errors import UsageError
from tunekit.library import Library, compile_recipe
from tunekit.models import load_source
from tunekit.recipe import Recipe, load_recipe, override


def test_a_library_gives_what_the_model_gives(compiled: tuple[Recipe, Library]) -> None:
    recipe, library = compiled
    source = load_source(recipe.model)
    [spec] = source.inputs
    image = source.sample_inputs(5)[spec.name]
    [expected] = source.reference({spec.name: image})

    np.testing.assert_allclose(library.run(image), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(library.run(**{spec.name: image}), expected, rtol=1e-4, atol=1e-5)


def test_a_library_is_opened_from_its_folder(compiled: tuple[Recipe, Library]) -> None:
    library = compiled[1]
    assert library.folder == library.path.parent
    assert Library.open(library.folder) == library


def test_several_outputs_come_by_name(tmp_path: Path) -> None:
    (tmp_path / "two_outputs.py").write_text(
        "import torch\n"
        "class Two(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return {'boxes': x * 2, 'scores': x + 1}\n"
    )
    (tmp_path / "two.yaml").write_text(
        "name: two\nmodel: {source: 'python:two_outputs:Two', inputs: [{name: x, shape: [1, 2]}]}\n"
    )
    places = {"output": tmp_path / "artifacts", "catalogue": str(tmp_path / "catalogue.db")}
    recipe = override(load_recipe(tmp_path / "two.yaml"), places)
    found = compile_recipe(recipe, selection=False).run(np.full((1, 2), 3, np.float32))
    assert isinstance(found, dict)
    assert {name: array.tolist() for name, array in found.items()} == {
        "boxes": [[6.0, 6.0]],
        "scores": [[4.0, 4.0]],
    }


def test_all_that_does_not_fit_is_said_at_once(compiled: tuple[Recipe, Library]) -> None:
    library = compiled[1]
    [entry] = library.manifest.inputs
    with pytest.raises(UsageError) as caught:
        library.run(np.zeros((2, 3)))
    assert f"{entry.name}: shape [2, 3], not {list(entry.shape)}" in caught.value.message
    assert f"{entry.name}: float64, not float32" in caught.value.message
    assert f"{entry.name}: float32{list(entry.shape)}" in (caught.value.hint or "")

    with pytest.raises(UsageError) as caught:
        library.run(picture=np.zeros((2, 3)))
    assert "picture: no such input" in caught.value.message
    assert f"{entry.name}: missing" in caught.value.message

    with pytest.raises(UsageError, match="the model has 1 inputs"):
        library.run(np.zeros(1), np.zeros(1))
    with pytest.raises(UsageError, match="missing"):
        library.run()
