"""A standalone library has kernels for several CPUs, and runs the best that its own can run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from targets import unoptimized

import tunekit
from tunekit.errors import TargetError
from tunekit.graph.pipeline import more_targets
from tunekit.library import Library
from tunekit.library.build import work_digest
from tunekit.library.compile import compile_recipe
from tunekit.machine.target import resolve_target
from tunekit.recipe import Recipe, override

pytestmark = pytest.mark.skipif(
    "x86" not in resolve_target("native").architecture, reason="its targets are for x86"
)
# No CPU has both: one is Intel's, the other was AMD's.
_NOWHERE = {"kind": "llvm", "mcpu": "x86-64-v3", "mattr": ["+avx512f", "+xop"], "opt-level": 0}


@pytest.fixture(scope="module")
def recipe(tuned: Any, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("several")
    return override(
        tuned.recipe,
        {
            "target": json.loads(unoptimized().spec),
            "more_targets": [
                {"kind": "llvm", "mcpu": "x86-64", "opt-level": 0},
                {**_NOWHERE, "num-cores": 2},
            ],
            "output": folder / "artifacts",
            "catalogue": str(folder / "catalogue.db"),
        },
    )


@pytest.fixture(scope="module")
def library(recipe: Recipe) -> Library:
    return compile_recipe(recipe, selection=False)


def test_kernels_that_no_cpu_here_can_run_are_passed_over(library: Library) -> None:
    entry = library.manifest.standalone
    assert entry is not None, library.manifest.not_standalone
    baseline, nowhere = entry.other_targets
    assert {"avx512f", "xop"} <= set(nowhere.features)
    assert "avx2" not in baseline.features
    with tunekit.load(library.folder) as model:
        model.self_test()
        assert len(model.manifest["more_targets"]) == 2


def test_the_library_is_another_than_that_for_one_target(recipe: Recipe) -> None:
    target = resolve_target(recipe.target)
    one = override(recipe, {"more_targets": []})
    assert work_digest(one, target) != work_digest(recipe, target)
    # However they are written.
    written = [resolve_target(spec, measured_elsewhere=True) for spec in recipe.more_targets]
    as_text = override(recipe, {"more_targets": [other.spec for other in written]})
    assert work_digest(as_text, target) == work_digest(recipe, target)


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        (["llvm -mtriple=aarch64-linux-gnu"], "is for aarch64, and .* a library is for CPUs of"),
        (["native", "native"], "'native' is listed twice"),
        (["cuda"], "only kernels for CPUs can"),
        (["llvm -mcpu=pentium5000"], "pentium5000"),
    ],
)
def test_targets_that_do_not_go_together_are_refused(
    recipe: Recipe, others: list[str], reason: str
) -> None:
    wrong = override(recipe, {"target": "llvm -mcpu=x86-64", "more_targets": others})
    with pytest.raises(TargetError, match=reason):
        more_targets(wrong, resolve_target(wrong.target))
