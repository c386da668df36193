"""A library on disk is verified, whole, and of the recipe that asks for it; or it is not there."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tunekit.errors import TargetError, UsageError, VerificationFailed
from tunekit.library import (
    Library,
    build_unscheduled,
    compile_recipe,
    load_manifest,
    tuned_library,
)
from tunekit.library.apply import Applied, coverage_line
from tunekit.machine.host import detect_host
from tunekit.machine.target import resolve_target
from tunekit.models import load_source
from tunekit.recipe import Recipe, load_recipe, override
from tunekit.search.progress import SilentReporter
from tunekit.sessions.run import tune_recipe


class _Reporter(SilentReporter):
    """Keeps the lines."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def say(self, line: str) -> None:
        self._said.append(line)


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


# Of this machine's architecture, with instructions that hardly any machine has: AMX, or SVE 2.
_MORE_THAN_HERE = "sapphirerapids" if detect_host().architecture == "x86_64" else "neoverse-v2"


def test_a_library_for_a_cpu_that_is_not_here_is_compiled_and_says_that_nobody_ran_it(
    compiled: tuple[Recipe, Library], tmp_path: Path
) -> None:
    recipe = override(compiled[0], {"target": f"llvm -mcpu={_MORE_THAN_HERE}"})
    try:
        resolve_target(recipe.target)
    except TargetError as error:
        reason = error.message
    else:
        pytest.skip("this machine runs it")
    said: list[str] = []
    library = compile_recipe(recipe, output=tmp_path / "other", say=said.append)
    manifest = load_manifest(tmp_path / "other")
    assert manifest == library.manifest
    assert (manifest.relative_errors, manifest.not_verified) == ((), reason)
    assert f"not verified: {reason}; --rpc-tracker HOST:PORT" in said[-1]
    with pytest.raises(TargetError) as caught:
        tune_recipe(recipe, SilentReporter())
    assert "`tunekit compile` compiles for it without measuring" in (caught.value.hint or "")


def test_a_library_that_nothing_here_links_is_refused_at_once(
    compiled: tuple[Recipe, Library], tmp_path: Path
) -> None:
    here = detect_host().architecture
    other = "aarch64" if here == "x86_64" else "x86_64"
    recipe = override(compiled[0], {"target": f"llvm -mtriple={other}-linux-gnu"})
    with pytest.raises(UsageError, match=f"this machine links for {here}") as caught:
        compile_recipe(recipe, output=tmp_path / "other")
    assert f"{other}-linux-gnu-g++" in (caught.value.hint or "")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("verb", ["compile", "tune"])
def test_a_library_for_another_architecture_is_linked_by_its_compiler(
    compiled: tuple[Recipe, Library], tmp_path: Path, verb: str
) -> None:
    """Also by `tune`, which cannot measure without a device and says so."""
    compiler = shutil.which("aarch64-linux-gnu-g++")
    if compiler is None or detect_host().architecture == "aarch64":
        pytest.skip("no compiler for another architecture")
    said: list[str] = []
    target = "llvm -mtriple=aarch64-linux-gnu -mattr=+neon"
    recipe = override(compiled[0], {"target": target, "cc": f"{compiler} -O1"})
    if verb == "tune":
        library = tune_recipe(recipe, _Reporter(said), folder=tmp_path)
        assert "warning: nothing is measured: no device for the target is named" in said
    else:
        library = compile_recipe(recipe, output=tmp_path, say=said.append)
    header = library.path.read_bytes()[:20]
    assert (header[:4], int.from_bytes(header[18:20], "little")) == (b"\x7fELF", 183)
    assert "not verified: target is for aarch64" in said[-1]


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


_READS_ITS_WEIGHTS = """
import torch
def build():
    model = torch.nn.Linear(4, 3)
    model.load_state_dict(torch.load({file!r}))
    return model
"""


def test_a_library_of_a_model_that_changed_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.pt"
    torch.save(torch.nn.Linear(4, 3).state_dict(), file)
    (tmp_path / "retrained.py").write_text(_READS_ITS_WEIGHTS.format(file=str(file)))
    (tmp_path / "net.yaml").write_text(
        "name: net\nmodel: {source: 'python:retrained:build', inputs: [{name: x, shape: [2, 4]}]}\n"
    )
    recipe = load_recipe(tmp_path / "net.yaml")
    compile_recipe(recipe)
    said: list[str] = []
    x = np.ones((2, 4), np.float32)
    first = tuned_library(recipe, say=said.append).run(x)
    unscheduled = _unscheduled(recipe)
    assert said == []
    torch.save(torch.nn.Linear(4, 3).state_dict(), file)
    second = tuned_library(recipe, say=said.append).run(x)
    assert said
    [expected] = load_source(recipe.model).reference({"x": x})
    np.testing.assert_allclose(second, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(first, second)
    assert _unscheduled(recipe) != unscheduled


def _unscheduled(recipe: Recipe) -> Path:
    return build_unscheduled(recipe, model_digest=load_source(recipe.model).digest)


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
    digest = tuned.library.manifest.model_digest
    first = build_unscheduled(tuned.recipe, model_digest=digest, say=said.append)
    assert "compiling without schedules" in said
    said.clear()
    assert build_unscheduled(tuned.recipe, model_digest=digest, say=said.append) == first
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
