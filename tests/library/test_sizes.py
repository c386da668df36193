"""A model of several sizes: tuned in one session, and one library runs them all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from targets import unoptimized

import tunekit
from tunekit.cache import ContentCache
from tunekit.catalogue import Catalogue
from tunekit.errors import ModelError, TunekitError, UsageError
from tunekit.graph.sizes import prepare_sizes
from tunekit.library import Library, compile_recipe, load_manifest, tuned_library
from tunekit.models import load_source
from tunekit.models.sizes import load_sizes
from tunekit.recipe import Recipe, load_recipe, override
from tunekit.search.progress import SilentReporter
from tunekit.sessions.run import tune_recipe

_MODEL = """\
import torch


class Gated(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rows, self.gate = torch.nn.Linear(12, 8), torch.nn.Linear(16, 8)
        self.norm = torch.nn.BatchNorm1d(8)  # whose statistics are those of a batch

    def forward(self, x, context):
        return self.norm(torch.sigmoid(self.rows(x))) * self.gate(context)


class Mean(torch.nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class One(torch.nn.Module):
    def forward(self, x):
        return x.reshape(1, 12) * 2


class Plain(torch.nn.Module):
    def forward(self, x):
        return x * 2


class Doubled(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x, x])
"""
_RECIPE = """\
name: gated
model:
  source: python:sized_model:Gated
  axes:
    batch: {sizes: [1, 4], padding: zeros, shares: [3, 1]}
  inputs:
    - {name: x, shape: [batch, 12]}
    - {name: context, shape: [16]}
layout: NCHW
tuning:
  trials: 6
  measure: {repeat: 1, min_repeat_ms: 0}
"""


@dataclass(frozen=True)
class Sized:
    """The recipe, the library as tuning wrote it, and where."""

    recipe: Recipe
    library: Library
    folder: Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sizes")
    (folder / "sized_model.py").write_text(_MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        yield folder


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    (folder / "gated.yaml").write_text(_RECIPE)
    return override(
        load_recipe(folder / "gated.yaml"),
        {
            "target": json.loads(unoptimized().spec),
            "output": folder / "artifacts",
            "catalogue": str(folder / "catalogue.db"),
        },
    )


@pytest.fixture(scope="module")
def sized(recipe: Recipe) -> Sized:
    library = compile_recipe(recipe, selection=False)
    return Sized(recipe, library, recipe.output / recipe.name)


def _inputs(batch: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(batch)
    return (
        random.normal(size=(batch, 12)).astype("float32"),
        random.normal(size=16).astype("float32"),
    )


def _reference(recipe: Recipe, x: np.ndarray, context: np.ndarray) -> np.ndarray:
    source = load_source(recipe.model.at({"batch": len(x)}), ContentCache())
    return source.reference({"x": x, "context": context})[0]


def _weights_of(folder: Path) -> dict[str, int]:
    return {task.structural_hash: task.weight for task in load_manifest(folder).tasks}


def test_equal_kernels_of_several_sizes_are_one_task(sized: Sized) -> None:
    small, large = (_weights_of(sized.folder / name) for name in ("gated-batch1", "gated-batch4"))
    prepared = prepare_sizes(sized.recipe, ContentCache(), lambda _: None)
    weights = {task.structural_hash: task.weight for task in prepared.tasks}
    shared = small.keys() & large.keys()
    assert shared, "the gate's kernel does not depend on the batch"
    assert weights.keys() == small.keys() | large.keys()
    for digest in shared:
        assert weights[digest] == 3 * small[digest] + large[digest]


@pytest.mark.slow
def test_all_sizes_are_tuned_in_one_session(recipe: Recipe, tmp_path: Path) -> None:
    recipe = override(recipe, {"output": tmp_path, "catalogue": str(tmp_path / "catalogue.db")})
    library = tune_recipe(recipe, SilentReporter(), selection=False)
    with Catalogue.open(recipe.catalogue, create=False) as catalogue:
        [session] = catalogue.sessions.list(limit=None)
        tasks = catalogue.sessions.report(session.id).tasks
    used = [_weights_of(tmp_path / "gated" / size.folder) for size in library.manifest.sizes]
    assert {task.structural_hash for task in tasks} == used[0].keys() | used[1].keys()
    assert tunekit.export(library.folder, static=True).manifest.static == "lib/libgated.a"


def test_one_library_of_its_own_has_the_weights_once(sized: Sized) -> None:
    manifest = load_manifest(sized.folder)
    assert [(size.size, size.folder) for size in manifest.sizes] == [
        ({"batch": 1}, "gated-batch1"),
        ({"batch": 4}, "gated-batch4"),
    ]
    entry = manifest.standalone
    assert entry is not None
    assert [(axis.name, axis.sizes, axis.is_padded) for axis in entry.axes] == [
        ("batch", (1, 4), True)
    ]
    assert sorted(path.name for path in sized.folder.rglob("*.so")) == [
        "libgated.so",
        "model.so",
        "model.so",
    ]
    weights = 4 * (12 * 8 + 8 + 16 * 8 + 8)
    assert weights <= entry.weights_bytes < 1.6 * weights
    for size in manifest.sizes:
        of_size = load_manifest(sized.folder / size.folder)
        assert of_size.not_verified is None
        assert of_size.sha256 == size.sha256
        assert of_size.standalone is not None
        assert of_size.standalone.library == "../libgated.so"


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_a_batch_runs_in_the_smallest_size_that_fits(sized: Sized, batch: int) -> None:
    x, context = _inputs(batch)
    expected = _reference(sized.recipe, x, context)
    with tunekit.load(sized.folder) as model:
        given = model.run(x, context)
    assert isinstance(given, np.ndarray)
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(Library.open(sized.folder).run(x=x, context=context), given)


def test_one_size_is_a_library_as_well(sized: Sized) -> None:
    library = Library.open(sized.folder / "gated-batch4")
    x, context = _inputs(4)
    expected = _reference(sized.recipe, x, context)
    np.testing.assert_allclose(library.run(x, context), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="shape"):
        library.run(*_inputs(2))
    assert tuned_library(sized.recipe.at({"batch": 4})).manifest == library.manifest
    assert tuned_library(sized.recipe).manifest == sized.library.manifest


def test_a_size_beyond_the_largest_is_refused_with_those_there_are(sized: Sized) -> None:
    with (
        tunekit.load(sized.folder) as model,
        pytest.raises(UsageError, match=r"gated has no size for batch 5: there are 1, 4, and what"),
    ):
        model.run(*_inputs(5))


def test_a_bundle_is_right_at_every_size(sized: Sized, tmp_path: Path) -> None:
    bundle = tunekit.export(sized.folder, folder=tmp_path / "bundle")
    assert [sample.size for sample in bundle.manifest.samples] == [(1,), (1,), (4,), (4,)]
    check = ["make", "-C", str(bundle.folder), "CXX=none", "CFLAGS=-O0"]
    done = subprocess.run([*check, "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gated is right on this machine" in done.stdout
    assert done.stdout.count("within") == 4
    done = subprocess.run(
        [str(bundle.folder / "build" / "main"), "--size", "5", "x", "y"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no size for batch 5: there are 1, 4" in done.stderr
    with pytest.raises(UsageError, match="is one size of a library of several"):
        tunekit.export(sized.folder / "gated-batch1", folder=tmp_path / "one")
    with pytest.raises(UsageError, match="has several sizes, and TVM's virtual machine runs one"):
        tunekit.export(sized.folder, folder=tmp_path / "vm", vm=True)


def test_a_benchmark_has_a_row_for_each_size(sized: Sized) -> None:
    report = tunekit.bench(sized.recipe, runtimes=["tuned-c"], rounds=1, threads=1)
    assert [row.name for row in report.runtimes] == ["tuned-c (batch 1)", "tuned-c (batch 4)"]
    assert {row.status for row in report.runtimes} == {"ok"}, report.runtimes
    for row in report.runtimes:
        assert row.fps == pytest.approx(row.size["batch"] * 1e3 / row.latency.median_ms)
    assert report.succeeded
    assert "at batch 4 tuned-c ran" in report.verdict


def test_random_weights_are_the_same_at_every_size(sized: Sized) -> None:
    small, large = load_sizes(sized.recipe, ContentCache()).sources
    x, context = _inputs(1)
    rows = large.reference({"x": np.repeat(x, 4, 0), "context": context})[0]
    one = small.reference({"x": x, "context": context})[0]
    np.testing.assert_allclose(rows[:1], one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "axis", "words"),
    [
        ("Mean", "{sizes: [2, 4], padding: zeros}", "cannot be padded in batch: with zeros behind"),
        ("Mean", "{sizes: [3], padding: zeros}", "cannot be padded in batch: with zeros behind"),
        ("Doubled", "{sizes: [2, 4], padding: zeros}", "dimension 0 of output .* changes with it"),
        ("One", "[1, 2]", "at batch 2: One does not accept the recipe's inputs"),
    ],
)
def test_a_model_that_sizes_do_not_fit_is_refused_before_anything_is_spent(
    folder: Path, model: str, axis: str, words: str
) -> None:
    file = folder / "refused.yaml"
    file.write_text(
        f"name: refused\nmodel:\n  source: python:sized_model:{model}\n"
        f"  axes: {{batch: {axis}}}\n  inputs: [{{name: x, shape: [batch, 12]}}]\n"
    )
    with pytest.raises(TunekitError, match=words) as caught:
        load_sizes(load_recipe(file), ContentCache())
    assert isinstance(caught.value, ModelError)


def test_sizes_that_need_no_padding_may_depend_on_all_rows(folder: Path) -> None:
    file = folder / "mean.yaml"
    file.write_text(
        "name: mean\nmodel:\n  source: python:sized_model:Mean\n"
        "  inputs: [{name: x, shape: [[2, 4], 12]}]\n"
    )
    recipe = load_recipe(file)
    loaded = load_sizes(recipe, ContentCache())
    assert [source.outputs[0].shape for source in loaded.sources] == [(2, 12), (4, 12)]
    assert loaded.output_axes == [(0, -1)]


def test_one_size_with_padding_runs_all_below(folder: Path) -> None:
    file = folder / "plain.yaml"
    file.write_text(
        "name: plain\nmodel:\n  source: python:sized_model:Plain\n"
        "  axes: {batch: {sizes: [3], padding: zeros}}\n"
        "  inputs: [{name: x, shape: [batch, 12]}]\n"
    )
    loaded = load_sizes(load_recipe(file), ContentCache())
    assert (len(loaded.sources), loaded.output_axes) == (1, [(0, -1)])


def test_what_is_done_for_one_size_says_how_to_choose_it(sized: Sized) -> None:
    with pytest.raises(UsageError) as caught:
        tunekit.explain(sized.recipe)
    assert caught.value.hint == "choose one of each axis: --dim batch=1"
    one = tunekit.load_recipe(sized.recipe, dims={"batch": 4})
    assert one == sized.recipe.at({"batch": 4})
    with pytest.raises(UsageError, match="--dim: must be one of 1, 4, not 3"):
        tunekit.load_recipe(sized.recipe, dims={"batch": 3})
