"""A static library is of what shipped: the trials that its manifest names, and the same outputs."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tunekit.catalogue import Catalogue
from tunekit.errors import CatalogueError, CompileError
from tunekit.library import Library, compile_recipe
from tunekit.library.archive import static_library
from tunekit.machine.host import detect_host
from tunekit.recipe import Recipe, override


def _as_compiled(library: Library, catalogue: str | None = None) -> Recipe:
    recipe = Recipe.model_validate(library.manifest.recipe)
    return recipe if catalogue is None else override(recipe, {"catalogue": catalogue})


def _silent(_: str) -> None:
    pass


def _another_trial(library: Library, catalogue: str) -> None:
    """Makes another trial the best of each task, as a later session may."""
    shipped = {task.trial_id for task in library.manifest.tasks}
    with Catalogue.open(catalogue) as ledger:
        others = [
            trial.trial_id
            for trial in ledger.trials.read()
            if trial.score_s is not None and trial.trial_id not in shipped
        ]
        assert others
        for trial_id in others:
            ledger.records.add_winner(trial_id, [1e-9])


def test_it_has_the_trials_of_the_manifest_and_not_the_newest(tuned, tmp_path: Path) -> None:
    catalogue, made = tmp_path / "later.db", tmp_path / "made"
    made.mkdir()
    with Catalogue.open(tuned.recipe.catalogue) as ledger:
        ledger.maintenance.backup(catalogue)
    _another_trial(tuned.library, str(catalogue))
    recipe = _as_compiled(tuned.library, str(catalogue))
    archive = static_library(tuned.library, recipe, made, _silent)
    assert [file.name for file in made.iterdir()] == [archive.name] == ["libsmall.a"]
    listed = subprocess.run(
        ["nm", "-g", "--defined-only", archive], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[-1] for line in listed.splitlines() if len(line.split()) == 3]
    assert "small_open" in names
    assert all(name.startswith("small_") for name in names)


def test_trials_that_are_gone_are_named(tuned, tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    Catalogue.open(other).close()
    (tmp_path / "made").mkdir()
    with pytest.raises(CatalogueError, match=r"trial \d+, .* is not in"):
        static_library(
            tuned.library, _as_compiled(tuned.library, other), tmp_path / "made", _silent
        )
    assert list((tmp_path / "made").iterdir()) == []


def test_kernels_that_are_prepared_otherwise_today_are_not_passed_off(
    tuned, tmp_path: Path
) -> None:
    manifest = tuned.library.manifest
    tasks = [task.model_copy(update={"structural_hash": "0"}) for task in manifest.tasks]
    library = replace(tuned.library, manifest=manifest.model_copy(update={"tasks": tuple(tasks)}))
    with pytest.raises(CompileError, match="is of another kernel"):
        static_library(library, _as_compiled(library), tmp_path, _silent)
    tasks = [task.model_copy(update={"trial_id": None}) for task in manifest.tasks[:-1]]
    library = replace(tuned.library, manifest=manifest.model_copy(update={"tasks": tuple(tasks)}))
    with pytest.raises(CompileError, match="cannot be built again as it shipped") as caught:
        static_library(library, _as_compiled(library), tmp_path, _silent)
    assert "tunekit compile" in (caught.value.hint or "")


@pytest.mark.skipif(detect_host().architecture != "x86_64", reason="needs a CPU without FMA")
def test_another_bit_in_an_output_is_refused(tuned, tmp_path: Path) -> None:
    """Where model.so is not what the trials give: here it rounds otherwise."""
    recipe = override(tuned.recipe, {"target": "llvm -mcpu=x86-64-v2"})
    other = compile_recipe(recipe, output=tmp_path / "other", selection=False)
    library = Library(other.path, tuned.library.manifest)
    (tmp_path / "made").mkdir()
    with pytest.raises(CompileError, match=r"its outputs are not those of model\.so"):
        static_library(library, _as_compiled(library), tmp_path / "made", _silent)
    assert list((tmp_path / "made").iterdir()) == []
