"""The library that ships is the fastest of those that are right, whatever the records say."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunekit.cache import ContentCache
from tunekit.catalogue import Catalogue, NewSession, NewTrial
from tunekit.errors import CompileError
from tunekit.graph.implementation import ConvProblem, Implementation
from tunekit.graph.pipeline import PreparedModel, prepare_model
from tunekit.library import Library, build_default, compile_recipe, load_manifest
from tunekit.library.built_variant import BuiltVariant
from tunekit.library.default_library import standalone_beside
from tunekit.library.manifest import RatioEntry, Selection, VariantEntry
from tunekit.library.selection import decide, take_turns, verdict
from tunekit.library.variants import variants_of
from tunekit.library.verify import reference_of
from tunekit.machine.toolchain import versions
from tunekit.recipe import Recipe, load_recipe, override
from tunekit.search.trial_writer import new_task

_MODEL = """\
import torch


def conv():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.ReLU())
"""
_RECIPE = """\
name: conv
model:
  source: python:conv_contest_model:conv
  inputs:
    - name: image
      shape: [1, 16, 16, 16]
layout: NCHWc
"""


@pytest.fixture(autouse=True, scope="module")
def _few_rounds() -> Iterator[None]:
    """Twice as many as an interval needs: what is compared here differs by far more than a
    hundred of them would tell apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunekit.library.selection._ROUNDS", 12)
        yield


@dataclass(frozen=True)
class Sabotaged:
    """A recipe whose catalogue praises naive loops, and the library that came of it."""

    recipe: Recipe
    prepared: PreparedModel
    library: Library
    said: Sequence[str]

    def variant(self, name: str) -> VariantEntry:
        selection = self.library.manifest.selection
        assert selection is not None
        return next(one for one in selection.variants if one.name == name)


def _praise_naive_loops(prepared: PreparedModel, catalogue: Catalogue) -> None:
    """Records of all kernels in naive loops, as fast as nothing is; Winograd's the most."""
    import tvm

    session = catalogue.sessions.begin(
        NewSession(
            name="sabotage",
            recipe_yaml="",
            recipe_digest="sabotage",
            model_digest=None,
            model_name="conv",
            target_json=prepared.target.spec,
            host=prepared.host.as_dict(),
            host_fingerprint=prepared.host.fingerprint,
            toolchain=versions(),
            budget_trials=len(prepared.tasks),
            seed=0,
        )
    )
    tasks = [new_task(task, prepared.graph.preparation) for task in prepared.tasks]
    for task, task_id in zip(
        prepared.tasks, catalogue.trials.ensure_tasks(session.id, tasks), strict=True
    ):
        direct = task.implementation is None or task.implementation.algorithm == "direct"
        trial = NewTrial(
            task_id=task_id,
            candidate_digest=f"naive {task.structural_hash}",
            trace_json=tvm.ir.save_json(_naive(task.module)),
            samples_s=(2e-9,) if direct else (1e-10,),
            failure=None,
            measure_options={},
        )
        catalogue.trials.add(session.id, [trial])
    catalogue.sessions.close(session.id, "finished")


def _naive(module: Any) -> Any:
    """The trace of a schedule that changes nothing that matters: one thread, no vectors."""
    from tvm.s_tir import Schedule

    schedule = Schedule(module)
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        schedule.split(schedule.get_loops(block)[0], [1, None])
    return schedule.trace


@pytest.fixture(scope="module")
def sabotaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sabotaged]:
    folder = tmp_path_factory.mktemp("sabotaged")
    (folder / "conv_contest_model.py").write_text(_MODEL)
    (folder / "conv.yaml").write_text(_RECIPE)
    recipe = override(
        load_recipe(folder / "conv.yaml"),
        {"output": folder / "artifacts", "catalogue": str(folder / "catalogue.db")},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        prepared = prepare_model(recipe, ContentCache(), lambda _: None)
        with Catalogue.open(recipe.catalogue) as catalogue:
            _praise_naive_loops(prepared, catalogue)
        said: list[str] = []
        yield Sabotaged(recipe, prepared, compile_recipe(recipe, say=said.append), said)


def test_records_that_promise_too_much_do_not_make_the_library_slow(sabotaged: Sabotaged) -> None:
    manifest = sabotaged.library.manifest
    assert manifest.selection is not None
    assert manifest.selection.shipped == "default"
    # The manifest is of what ships, kernels and algorithms.
    assert (manifest.coverage, manifest.applied) == (0.0, 0)
    assert {task.space for task in manifest.tasks} == {"default"}
    assert set(manifest.algorithms.values()) == {"winograd4"}
    default = build_default(sabotaged.recipe, model_digest=sabotaged.prepared.source.digest)
    assert sabotaged.library.path.read_bytes() == default.read_bytes()
    assert load_manifest(sabotaged.library.path.parent) == manifest


def test_the_manifest_says_by_how_much_it_is_faster_and_than_what(sabotaged: Sabotaged) -> None:
    selection = sabotaged.library.manifest.selection
    assert selection is not None
    assert [one.name for one in selection.variants] == ["tuned", "direct", "default"]
    assert selection.rounds >= 6
    assert sabotaged.variant("default").ratio is None
    for name in ("tuned", "direct"):
        slow = sabotaged.variant(name)
        assert slow.ratio is not None
        assert 1.0 < slow.ratio.low <= slow.ratio.value <= slow.ratio.high
        assert slow.ratio.confidence >= 0.95
        assert slow.median_ms is not None
        assert len(slow.rounds_ms) == selection.rounds
        assert (slow.left_out, slow.relative_error is None) == (None, False)
    [line] = [line for line in sabotaged.said if line.endswith("it ships")]
    assert line.startswith("the default library is ")
    assert " as fast as tuned, " in line


def _too_strict_for_winograd(sabotaged: Sabotaged) -> Recipe:
    """The recipe with a limit between the direct algorithm's error and Winograd's."""
    exact = sabotaged.variant("direct").relative_error
    rough = sabotaged.variant("tuned").relative_error
    assert exact is not None
    assert rough is not None
    assert exact < rough / 2, "Winograd should round less exactly"
    reference = sabotaged.recipe.reference.model_copy(
        update={"relative_error": (exact * rough) ** 0.5}
    )
    return sabotaged.recipe.model_copy(update={"reference": reference})


def test_a_variant_that_is_not_exact_enough_is_left_out_with_its_reason(
    sabotaged: Sabotaged, tmp_path: Path
) -> None:
    strict = _too_strict_for_winograd(sabotaged)
    said: list[str] = []
    library = compile_recipe(strict, output=tmp_path / "strict", say=said.append)
    selection = library.manifest.selection
    assert selection is not None
    by_name = {one.name: one for one in selection.variants}
    for name in ("tuned", "default"):
        assert "relative error" in (by_name[name].left_out or "")
        assert (by_name[name].median_ms, by_name[name].ratio) == (None, None)
        assert any(line.startswith(f"warning: the {name} library is left out: ") for line in said)
    assert selection.shipped == "direct"
    assert set(library.manifest.algorithms.values()) == {"direct"}
    assert library.manifest.rounding_errors == {}
    assert max(library.manifest.relative_errors) <= strict.reference.relative_error


def test_without_records_winograd_runs_where_it_is_exact_enough(
    sabotaged: Sabotaged, tmp_path: Path
) -> None:
    nothing_known = {"catalogue": str(tmp_path / "catalogue.db")}
    lenient = override(sabotaged.recipe, nothing_known)
    strict = override(_too_strict_for_winograd(sabotaged), nothing_known)
    said: list[str] = []
    default = compile_recipe(lenient, output=tmp_path / "lenient", say=said.append).manifest
    direct = compile_recipe(strict, output=tmp_path / "strict", say=said.append).manifest
    assert set(default.algorithms.values()) == {"winograd4"}
    assert set(direct.algorithms.values()) == {"direct"}
    assert max(direct.relative_errors) <= strict.reference.relative_error
    assert default.selection is not None
    assert direct.selection is not None
    assert default.selection.skipped == direct.selection.skipped
    assert [one.name for one in default.selection.variants] == ["tuned"]
    wrong, shipped = direct.selection.variants
    assert direct.selection.shipped == shipped.name == "direct"
    assert "relative error" in (wrong.left_out or "")
    assert [line.partition(":")[0] for line in said if "left out" in line] == ["warning"]


def test_libraries_of_their_own_take_turns_without_tvm(
    sabotaged: Sabotaged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = sabotaged.prepared
    path = build_default(sabotaged.recipe, model_digest=prepared.source.digest)
    standalone = standalone_beside(path)
    assert standalone is not None
    # Whoever would load it could not.
    (tmp_path / "tvm").mkdir()
    (tmp_path / "tvm" / "__init__.py").write_text("raise ImportError('TVM is not wanted here')")
    monkeypatch.syspath_prepend(tmp_path)
    variant = variants_of(prepared, [])[0]
    built = [BuiltVariant(variant, path, standalone=standalone) for _ in range(2)]
    assert take_turns(built, prepared, reference_of(prepared), tmp_path, lambda _: None) is None
    assert all(one.failure is None and len(one.rounds_s) >= 6 for one in built)


def test_without_a_contest_the_records_decide(sabotaged: Sabotaged, tmp_path: Path) -> None:
    library = compile_recipe(sabotaged.recipe, output=tmp_path / "alone", selection=False)
    manifest = library.manifest
    assert manifest.selection is not None
    assert manifest.selection.shipped == "tuned"
    assert manifest.selection.skipped == "it was not wanted"
    assert [one.name for one in manifest.selection.variants] == ["tuned"]
    assert manifest.coverage == 1.0
    assert set(manifest.algorithms.values()) == {"winograd4"}
    assert manifest.rounding_errors.keys() == manifest.algorithms.keys()
    assert all(1e-6 < error < 1e-4 for error in manifest.rounding_errors.values())


def _record(structural_hash: str, score_s: float) -> Any:
    return SimpleNamespace(
        structural_hash=structural_hash, score_s=score_s, trial_id=structural_hash
    )


def _names(seconds: dict[str, float]) -> list[str]:
    """The variants of a model with two problems and one other kernel, by the hashes below."""
    first, second = ConvProblem(1, 64, 64, 56, 56), ConvProblem(1, 128, 128, 28, 28)
    tasks = [
        SimpleNamespace(structural_hash=structural_hash, weight=1, implementation=implementation)
        for structural_hash, implementation in {
            "first direct": Implementation(first, "direct"),
            "first winograd": Implementation(first, "winograd4"),
            "second direct": Implementation(second, "direct"),
            "second winograd": Implementation(second, "winograd4"),
            "pool": None,
        }.items()
    ]
    prepared: Any = SimpleNamespace(tasks=tasks)
    records = [_record(structural_hash, score_s) for structural_hash, score_s in seconds.items()]
    return [variant.name for variant in variants_of(prepared, records)]


def test_every_variant_is_another_library() -> None:
    direct = {"first direct": 2.0, "second direct": 2.0}
    assert _names({}) == ["tuned", "direct"]
    assert _names({"pool": 1.0}) == ["tuned", "direct", "default"]
    assert _names({**direct, "pool": 1.0}) == ["tuned", "default"]
    assert _names({**direct, "first winograd": 1.0}) == ["tuned", "direct", "default"]
    both = {"first winograd": 1.0, "second winograd": 1.9}
    assert _names({**direct, **both}) == ["tuned", "cautious", "direct", "default"]
    assert _names({"first winograd": 1.0}) == ["tuned", "direct", "default"]


def _rounds(*seconds: float) -> dict[int, float]:
    return dict(enumerate(seconds))


def test_the_first_ships_unless_another_is_faster_beyond_doubt() -> None:
    tuned = _rounds(*[1.0] * 8)
    assert decide({"tuned": tuned}) == "tuned"
    assert decide({"tuned": tuned, "default": _rounds(*[0.9] * 4, *[1.1] * 4)}) == "tuned"
    assert decide({"tuned": tuned, "default": _rounds(*[0.95] * 8)}) == "default"
    assert (
        decide({"tuned": tuned, "direct": _rounds(*[0.8] * 8), "default": _rounds(*[0.9] * 8)})
        == "direct"
    )
    # Five rounds make no interval of 95 %.
    assert decide({"tuned": tuned, "default": _rounds(*[0.5] * 5)}) == "tuned"
    assert decide({"tuned": tuned, "default": {}}) == "tuned"


def test_the_verdict_in_a_line() -> None:
    def entry(name: str, *ratio: float) -> VariantEntry:
        value = RatioEntry(**dict(zip(("value", "low", "high"), ratio, strict=True)), confidence=1)
        return VariantEntry(name=name, ratio=value)

    shipped = VariantEntry(name="tuned")
    variants = (shipped, entry("direct", 1.041, 1.012, 1.07), entry("default", 1.31, 1.27, 1.36))
    assert verdict(Selection(shipped="tuned", threads=2, rounds=24, variants=variants)) == (
        "the tuned library is 1.04x (1.01 to 1.07) as fast as direct, "
        "1.31x (1.27 to 1.36) as default; it ships"
    )
    skipped = Selection(shipped="tuned", skipped="no room", threads=2, variants=(shipped,))
    assert verdict(skipped) == "warning: the variants could not be compared, no room; tuned ships"
    wrong = VariantEntry(name="tuned", left_out="relative error 1")
    only = Selection(shipped="default", threads=2, variants=(wrong, VariantEntry(name="default")))
    assert verdict(only) == "warning: of 2 variants only default is right; it ships"


def test_a_variant_that_cannot_be_compiled_is_left_out(
    sabotaged: Sabotaged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise CompileError("no room for it")

    monkeypatch.setattr("tunekit.library.built_variant.default_of", fails)
    library = compile_recipe(sabotaged.recipe, output=tmp_path / "failing")
    selection = library.manifest.selection
    assert selection is not None
    assert selection.shipped != "default"
    [default] = [one for one in selection.variants if one.name == "default"]
    assert default.left_out == "no room for it"


def test_one_that_fails_in_the_contest_is_left_out_and_the_others_go_on(
    sabotaged: Sabotaged, tmp_path: Path
) -> None:
    prepared = sabotaged.prepared
    shipped = sabotaged.library.path
    broken = tmp_path / "broken.so"
    broken.write_bytes(shipped.read_bytes()[:1000])
    variant = variants_of(prepared, [])[0]
    good, bad, other = (BuiltVariant(variant, path) for path in (shipped, broken, shipped))
    said: list[str] = []
    skipped = take_turns(
        [good, bad, other], prepared, reference_of(prepared), tmp_path, said.append
    )
    assert skipped is None
    assert bad.failure is not None
    assert "in the selection it failed" in bad.failure.message
    assert (good.failure, other.failure, bad.rounds_s) == (None, None, {})
    assert len(good.rounds_s) == len(other.rounds_s) >= 6
    [line] = said
    assert line.startswith("warning: the tuned library is left out: ")
