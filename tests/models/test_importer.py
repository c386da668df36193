from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tunekit.cache import ContentCache
from tunekit.errors import ImportMismatch, ModelFileError
from tunekit.models import import_model, load_source
from tunekit.models.sources.torch_model import TorchModel

SMALL = ("input", (1, 3, 8, 8))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> ContentCache:
    return ContentCache(tmp_path_factory.mktemp("imports"))


def do_import(given: Any, cache: ContentCache, **options: Any) -> tuple[Any, list[str]]:
    lines: list[str] = []
    model = import_model(
        given, cache=cache, say=lines.append, **{"max_relative_error": 1e-3, **options}
    )
    return model, lines


@pytest.fixture
def given(spec: Any) -> Any:
    return spec(
        "python:tunekit.models.vanilla_cnn:vanilla_cnn", SMALL, arguments={"channels": 4}, seed=2
    )


def test_an_import_is_checked_on_two_inputs_and_kept(given: Any, kept: ContentCache) -> None:
    import tvm_ffi

    first, said = do_import(given, kept)
    assert not first.was_cached
    # On a slow machine the import is told as well.
    assert said[-1].partition(": ")[2] == "imported; checking it against pytorch"
    assert len(first.relative_errors) == 2
    assert all(0 < error < 1e-5 for error in first.relative_errors)
    again, said = do_import(given, kept)
    assert again.was_cached
    assert [line.partition(": ")[2] for line in said] == ["import found in the cache"]
    assert tvm_ffi.structural_equal(first.module, again.module)
    assert (again.inputs, again.outputs) == (first.inputs, first.outputs)
    assert again.relative_errors == first.relative_errors
    assert again.outputs[0].shape == (1, 10)


def test_a_source_finds_the_import_of_its_spec(given: Any, kept: ContentCache) -> None:
    do_import(given, kept)
    found, _ = do_import(load_source(given), kept)
    assert found.was_cached


def test_a_kept_import_does_not_build_the_model(given: Any, kept: ContentCache) -> None:
    do_import(given, kept)
    source = load_source(given)
    assert isinstance(source, TorchModel)
    do_import(source, kept)
    assert "module" not in vars(source)


def test_a_damaged_entry_is_made_again(given: Any, kept: ContentCache, tmp_path: Path) -> None:
    expected, _ = do_import(given, kept)
    shutil.copytree(kept.root, tmp_path / "copy")
    cache = ContentCache(tmp_path / "copy")
    [entry] = (cache.root / "imported").iterdir()
    constants = entry / "constants.npz"
    content = bytearray(constants.read_bytes())
    content[len(content) // 2] ^= 0x10
    constants.write_bytes(content)
    rebuilt, _ = do_import(given, cache)
    assert not rebuilt.was_cached
    assert rebuilt.relative_errors == pytest.approx(expected.relative_errors, abs=1e-5)


def test_another_seed_or_shape_is_another_import(spec: Any, given: Any, tmp_path: Path) -> None:
    others = [
        given.model_copy(update={"seed": 9}),
        spec(given.source, ("input", (1, 3, 16, 16)), arguments=given.arguments, seed=2),
        spec(given.source, SMALL, arguments={"channels": 5}, seed=2),
    ]
    cache = ContentCache(tmp_path)
    for item in (given, *others):
        assert not do_import(item, cache)[0].was_cached
    assert do_import(given, cache)[0].was_cached


def test_an_import_that_differs_from_its_reference_is_refused(given: Any, tmp_path: Path) -> None:
    class Differing(TorchModel):
        def reference(self, inputs: Any) -> list[Any]:
            return [1.01 * array for array in super().reference(inputs)]

        def exact_reference(self, inputs: Any) -> None:
            return None

    source = load_source(given)
    source.__class__ = Differing
    cache = ContentCache(tmp_path)
    with pytest.raises(ImportMismatch, match=r"relative error 9\.\d+e-03, allowed 1e-03"):
        do_import(source, cache)
    # Nothing was kept that a next run could trust.
    assert not (tmp_path / "imported").exists()


def test_a_model_that_rounding_upsets_is_told_as_such(given: Any, tmp_path: Path) -> None:
    class Imprecise(TorchModel):
        """Off by one percent in float32, and right in float64."""

        def reference(self, inputs: Any) -> list[Any]:
            return [1.01 * array for array in super().reference(inputs)]

    source = load_source(given)
    source.__class__ = Imprecise
    with pytest.raises(ImportMismatch, match="too sensitive to rounding") as error:
        do_import(source, ContentCache(tmp_path))
    assert "pytorch itself is off by 1.0e-02 in float32" in error.value.message
    assert "reference.import_relative_error" in str(error.value.hint)


def test_a_model_that_draws_random_numbers_is_told_as_such(spec: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="gives something else each time") as error:
        do_import(spec("Noisy", ("x", (2, 3))), ContentCache(tmp_path))
    assert "evaluation mode" in str(error.value.hint)


def test_a_reference_of_nothing_but_nan_checks_nothing(spec: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="gives nothing but NaN on the sample inputs") as error:
        do_import(spec("not_a_number", ("x", (2, 3))), ContentCache(tmp_path), max_relative_error=1)
    assert "model.inputs[].values" in str(error.value.hint)


def test_a_kept_import_is_held_to_a_stricter_tolerance(given: Any, kept: ContentCache) -> None:
    do_import(given, kept)
    with pytest.raises(ImportMismatch, match="allowed 1e-12"):
        do_import(given, kept, max_relative_error=1e-12)


def test_an_onnx_model_is_imported_and_kept(spec: Any, tmp_path: Path) -> None:
    given = spec(
        "python:tunekit.models.vanilla_cnn:onnx_model",
        ("input", (1, 3, 16, 16)),
        arguments={"channels": 4},
    )
    cache = ContentCache(tmp_path)
    first, _ = do_import(given, cache)
    assert first.framework == "onnx"
    assert [item.name for item in first.outputs] == ["scores"]
    assert do_import(given, cache)[0].was_cached
