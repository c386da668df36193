"""A compiled library runs where Python is, and says in one message what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from tunekit.errors import UsageError
from tunekit.library import Library
from tunekit.library.manifest import TensorEntry
from tunekit.models import load_source
from tunekit.recipe import Recipe


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


def test_several_outputs_come_by_name(
    compiled: tuple[Recipe, Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = compiled[1]
    manifest = library.manifest.model_copy(
        update={
            "outputs": tuple(
                TensorEntry(name=name, shape=(1,), dtype="float32") for name in ("boxes", "scores")
            )
        }
    )
    detector = Library(library.path, manifest)
    monkeypatch.setitem(detector.__dict__, "_loaded", lambda _: [np.zeros(1), np.ones(1)])
    [entry] = manifest.inputs
    found = detector.run(np.zeros(entry.shape, entry.dtype))
    assert isinstance(found, dict)
    assert {name: array.tolist() for name, array in found.items()} == {
        "boxes": [0.0],
        "scores": [1.0],
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
