"""A library on disk is verified, whole, and of the recipe that asks for it; or it is not there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tunekit.errors import UsageError, VerificationFailed
from tunekit.library import (
    Library,
    build_unscheduled,
    compile_recipe,
    load_manifest,
    tuned_library,
)
from tunekit.library.apply import Applied, coverage_line
from tunekit.recipe import Recipe, override


def _content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_tuning_leaves_a_library_whose_kernels_have_records(tuned) -> None:
    manifest = tuned.library.manifest
    assert (manifest.coverage, manifest.applied) == (1.0, manifest.kernels)
    assert load_manifest(tuned.library.path.parent) == manifest


def test_records_and_libraries_of_another_target_are_not_used(
    compiled: tuple[Recipe, Library],
) -> None:
    said: list[str] = []
    recipe = override(compiled[0], {"target": "llvm -mcpu=x86-64-v2"})
    library = tuned_library(recipe, say=said.append)
    assert (library.manifest.coverage, library.manifest.applied) == (0.0, 0)
    assert library.manifest.target["mcpu"] == "x86-64-v2"
    assert library.manifest.selection is not None
    assert (library.manifest.selection.skipped or "").startswith("no records apply")
    assert any("holds another library" in line for line in said)
    assert any("0.0%" in line and "the others have default schedules" in line for line in said)
    assert max(library.manifest.relative_errors) < 1e-4


def test_a_library_that_is_not_right_is_never_written(
    compiled: tuple[Recipe, Library],
) -> None:
    recipe, library = compiled
    folder = library.path.parent
    before = _content(folder)
    strict = recipe.model_copy(
        update={"reference": recipe.reference.model_copy(update={"relative_error": 1e-12})}
    )
    with pytest.raises(VerificationFailed) as caught:
        compile_recipe(strict)
    assert caught.value.exit_code == 1
    assert "allowed 1e-12" in caught.value.message
    assert "nothing was written" in (caught.value.hint or "")
    assert _content(folder) == before


def test_a_fitting_library_is_used_as_it_is(compiled: tuple[Recipe, Library]) -> None:
    recipe, library = compiled
    said: list[str] = []
    assert tuned_library(recipe, say=said.append) == library
    assert tuned_library(override(recipe, {"tuning.trials": 77}), say=said.append) == library
    assert said == []


def test_a_library_that_was_tampered_with_is_compiled_again(
    compiled: tuple[Recipe, Library],
) -> None:
    recipe, library = compiled
    library.path.write_bytes(library.path.read_bytes() + b"\0")
    said: list[str] = []
    again = tuned_library(recipe, say=said.append)
    assert said
    assert hashlib.sha256(again.path.read_bytes()).hexdigest() == again.manifest.sha256


def test_the_unscheduled_library_is_built_once(tuned) -> None:
    said: list[str] = []
    first = build_unscheduled(tuned.recipe, say=said.append)
    assert "compiling without schedules" in said
    said.clear()
    assert build_unscheduled(tuned.recipe, say=said.append) == first
    assert "compiling without schedules" not in said
    assert first.stat().st_size > 0


@pytest.mark.parametrize("text", ["", "[]", '{"manifest_version": 1}', "no json", "{}"])
def test_a_damaged_manifest_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_manifest(tmp_path)
    assert str(tmp_path / "manifest.json") in caught.value.message
    assert "tunekit compile" in (caught.value.hint or "")


def test_a_folder_without_a_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no manifest\.json"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("applied", "line"),
    [
        (
            0,
            "coverage: 0.0% of the estimated latency, 0 of 4 kernels have an applied record; "
            "the others have default schedules",
        ),
        (1, "coverage: 25.0% of the estimated latency, 1 of 4 kernels have an applied record"),
        (4, "coverage: 100.0% of the estimated latency, 4 of 4 kernels have an applied record"),
    ],
)
def test_coverage_in_a_line(applied: int, line: str) -> None:
    records = {str(number): None for number in range(applied)}
    found = Applied(module=None, records=records, coverage=applied / 4, latency_s=None)  # type: ignore[arg-type]
    assert coverage_line(found, 4) == line
