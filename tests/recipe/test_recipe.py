"""Settings over a recipe, its text, its digest and its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunekit.errors import RecipeError, UsageError
from tunekit.recipe import (
    InputSpec,
    Measure,
    ModelSpec,
    Recipe,
    Reference,
    Tuning,
    dump_recipe,
    json_schema,
    load_recipe,
    override,
    parse_recipe,
    parse_runtimes,
    parse_settings,
    recipe_digest,
    recipe_fields,
    session_digest,
)
from tunekit.recipe.values import REFERENCE_RUNTIMES

# YAML cannot hold these in any form: half of a surrogate pair is no character.
characters = st.characters(exclude_categories=("Cs",))
texts = st.text(characters, max_size=20)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
positive = st.integers(1, 1000)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
mappings = st.dictionaries(texts, plain, max_size=3)
inputs = st.lists(
    st.builds(
        InputSpec,
        name=texts.filter(bool),
        shape=st.lists(positive, min_size=1, max_size=5).map(tuple),
        dtype=st.sampled_from(["float32", "int64", "bool"]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda spec: spec.name,
).map(tuple)
sources = names.map("torchvision:{}".format) | names.map("python:package.{}:call".format)
budgets = st.fixed_dictionaries({"trials": st.none() | st.integers(0, 99)}) | (
    st.fixed_dictionaries({"trials_per_task_factor": st.none() | positive})
)
tunings = budgets.flatmap(
    lambda budget: st.builds(
        Tuning,
        **{key: st.just(value) for key, value in budget.items()},
        trials_per_task=st.none() | positive,
        max_seconds=st.none() | st.floats(1, 1e6),
        patience=st.none() | positive,
        seed=st.integers(0, 2**31 - 1),
        measure=st.builds(
            Measure,
            timeout_s=st.floats(1e-6, 3600),
            jobs=st.none() | positive,
            cache=st.sampled_from(["auto", "warm", "weights", "flush"]),
            overlap=st.booleans(),
        ),
    )
)
recipes = st.builds(
    Recipe,
    name=names.filter(lambda name: name[0] != "_"),
    model=st.builds(ModelSpec, source=sources, arguments=mappings, inputs=inputs),
    target=texts.filter(str.strip) | mappings.filter(bool),
    layout=st.sampled_from(["NCHW", "NHWC", "NCHWc", "auto"]),
    tuning=tunings,
    reference=st.builds(
        Reference,
        runtimes=st.permutations(REFERENCE_RUNTIMES).map(tuple),
        relative_error=st.floats(1e-12, 1),
    ),
    catalogue=texts.filter(bool),
    output=names.map(Path),
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(recipe=recipes)
def test_a_dumped_recipe_loads_as_the_same_recipe(recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "dumped.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8", newline="")
    loaded = load_recipe(file)
    assert loaded == recipe
    assert recipe_digest(loaded) == recipe_digest(recipe)


@pytest.mark.parametrize(
    "name", ["\x85", "a\u2028b", "\ufeff", "eingäng", "null", "1e3", " x\n\ty "]
)
def test_a_text_that_yaml_has_other_plans_for_survives_a_dump(
    recipe: Recipe, tmp_path: Path, name: str
) -> None:
    inputs = (InputSpec(name=name, shape=(1,)),)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"inputs": inputs})})
    file = tmp_path / "dumped.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8", newline="")
    assert load_recipe(file) == recipe


def test_a_dump_loads_from_another_folder_with_its_model_file(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"a model")
    file = tmp_path / "net.yaml"
    file.write_text("name: net\nmodel: {source: net.onnx}\n")
    recipe = load_recipe(file)
    other = tmp_path / "artifacts/net/recipe.yaml"
    other.parent.mkdir(parents=True)
    other.write_text(dump_recipe(recipe))
    assert load_recipe(other) == recipe


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(recipe_file)


def test_settings_win_over_the_file_and_the_rest_stays(recipe: Recipe) -> None:
    changed = override(
        recipe,
        {
            "tuning.trials": 99,
            "target": "llvm -mcpu=haswell",
            "layout": "NHWC",
            "catalogue": "sqlite:///x.db",
            "output": "out",
            "tuning.min_trials_per_task": 2,
            "tuning.max_seconds": 600,
            "tuning.patience": 50,
            "tuning.seed": 7,
            "tuning.measure.jobs": 5,
            "tuning.measure.overlap": True,
            "tuning.measure.timeout_s": 2.5,
            "reference.runtimes": ["onnxruntime"],
        },
    )
    assert changed.tuning.trials == 99
    assert changed.tuning.min_trials_per_task == 2
    assert (changed.tuning.max_seconds, changed.tuning.patience) == (600, 50)
    assert changed.target == "llvm -mcpu=haswell"
    assert changed.layout == "NHWC"
    assert changed.catalogue == "sqlite:///x.db"
    assert changed.output == Path("out")
    assert (changed.tuning.seed, changed.model.seed) == (7, 0)
    assert changed.tuning.measure.timeout_s == 2.5
    assert (changed.tuning.measure.jobs, changed.tuning.measure.overlap) == (5, True)
    assert changed.reference.runtimes == ("onnxruntime",)
    assert changed.model == recipe.model
    assert recipe.tuning.trials == 8


def test_no_settings_leave_the_recipe_as_it_is(recipe: Recipe) -> None:
    assert override(recipe, {}) == recipe


def test_nothing_as_a_value_is_the_default(recipe: Recipe) -> None:
    changed = override(recipe, {"target": "cuda", "tuning.measure.repeat": 3})
    back = override(changed, {"target": None, "tuning.measure.repeat": None, "tuning.trials": None})
    assert (back.target, back.tuning) == ("native", Tuning())


def test_every_key_may_be_given_with_the_value_that_it_has(recipe: Recipe) -> None:
    for key in recipe_fields():
        value: Any = recipe.model_dump()
        for part in key.split("."):
            value = value[part] if isinstance(value, dict) else None
        assert override(recipe, {key: value}) == recipe, key


@pytest.mark.parametrize(
    "setting",
    [
        "model.detector.samples=[{file}]",
        "model.inputs=[{{name: x, shape: [1]}},"
        " {{name: y, shape: [2], dtype: float32, value: {file}}}]",
    ],
)
def test_files_in_settings_are_found_from_here_and_have_to_be_there(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "there.npy", np.zeros(2, np.float32))
    changed = override(recipe, parse_settings([setting.format(file="there.npy")]))
    assert str(tmp_path / "there.npy") in dump_recipe(changed)
    with pytest.raises(UsageError, match=r"missing\.npy does not exist"):
        override(recipe, parse_settings([setting.format(file="missing.npy")]))


def test_settings_as_typed_are_yaml(recipe: Recipe) -> None:
    typed = parse_settings(
        ["target={kind: llvm, mcpu: znver3}", "tuning.measure.timeout_s=2", "target.cores=4"]
    )
    changed = override(recipe, typed)
    assert changed.target == {"kind": "llvm", "mcpu": "znver3", "cores": 4}
    assert changed.tuning.measure.timeout_s == 2
    assert parse_settings(["tuning.patience="]) == {"tuning.patience": None}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tuning.trials", "--set tuning.trials: must be key=value"),
        ("tuning.trials=[1", "--set tuning.trials: the value is not YAML"),
    ],
)
def test_a_setting_that_cannot_be_read_is_told(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings([text])
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("tuning.trails", "did you mean 'tuning.trials'?"),
        ("repeat", "did you mean 'tuning.measure.repeat'?"),
        ("name.first", "a recipe has no such key"),
    ],
)
def test_an_unknown_key_is_answered_with_the_near_one(recipe: Recipe, key: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        override(recipe, {key: 1})
    assert caught.value.message.startswith(f"{key}: a recipe has no such key")
    assert words in caught.value.message


def test_a_file_that_is_set_is_found_from_the_working_directory(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.pth").touch()
    monkeypatch.chdir(tmp_path)
    changed = override(recipe, {"model.weights": "net.pth"})
    assert changed.model.weights == tmp_path / "net.pth"
    with pytest.raises(UsageError, match=r"does not exist; did you mean 'net\.pth'"):
        override(recipe, {"model.weights": "nett.pth"})


def test_a_budget_by_flag_replaces_the_other_kind_of_budget(recipe: Recipe) -> None:
    by_factor = override(recipe, {"tuning.trials_per_task_factor": 5})
    assert (by_factor.tuning.trials, by_factor.tuning.budget(4)) == (None, 20)
    in_all = override(by_factor, {"tuning.trials": 7})
    assert (in_all.tuning.trials_per_task_factor, in_all.tuning.budget(4)) == (None, 7)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tuning.trials": -1}, "--trials: must be at least 0, not -1"),
        ({"layout": "nchw"}, "layout: must be one of NCHW, NHWC, NCHWc, auto, not 'nchw'"),
        ({"target": " "}, "target: must not be empty"),
        ({"tuning.measure": {"repeat": 0}}, "tuning.measure.repeat: must be at least 1, not 0"),
        (
            {"tuning.measure.timeout_s": float("nan")},
            "tuning.measure.timeout_s: must be a finite number, not nan",
        ),
        ({"reference.runtimes": ["caffe2"]}, "reference.runtimes[0]: unknown runtime 'caffe2'"),
        ({"tuning.max_seconds": 0}, "tuning.max_seconds: must be more than 0.0, not 0"),
        (
            {"tuning.min_trials_per_task": 9, "tuning.trials_per_task": 8},
            "min_trials_per_task (9) is more than trials_per_task (8)",
        ),
        (
            {"tuning.trials": 1, "tuning.trials_per_task_factor": 1},
            "--trials and tuning.trials_per_task_factor cannot be given together",
        ),
    ],
)
def test_a_bad_value_is_told_by_what_was_typed(
    recipe: Recipe, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        override(recipe, settings, names={"tuning.trials": "--trials"})
    assert words in caught.value.message
    assert caught.value.exit_code == 2
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize(
    ("tuning", "tasks", "budget"),
    [
        (Tuning(), 10, 512),
        (Tuning(trials=0), 10, 0),
        (Tuning(trials=100), 10, 100),
        (Tuning(trials_per_task_factor=800), 28, 22400),
        (Tuning(trials=100, trials_per_task=4), 10, 40),
        (Tuning(trials_per_task_factor=800, trials_per_task=64), 28, 1792),
    ],
)
def test_the_budget_is_the_total_below_the_ceiling_of_each_task(tuning, tasks, budget) -> None:
    assert tuning.budget(tasks) == budget


def test_the_digest_follows_the_work_and_nothing_else(recipe: Recipe) -> None:
    digest = recipe_digest(recipe)
    for same in (
        override(recipe, {"catalogue": "other.db", "output": "elsewhere"}),
        recipe.model_copy(update={"name": "other"}),
    ):
        assert recipe_digest(same) == digest
    for changed in ({"tuning.trials": 9}, {"target": "cuda"}, {"layout": "NCHW"}):
        assert recipe_digest(override(recipe, changed)) != digest


def test_the_digest_follows_the_content_of_a_model_file_and_not_its_place(tmp_path: Path) -> None:
    digests = []
    for folder, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.onnx").write_bytes(content)
        file = tmp_path / folder / "net.yaml"
        file.write_text("name: net\nmodel: {source: net.onnx}\n")
        digests.append(recipe_digest(load_recipe(file)))
    assert digests[0] == digests[1] != digests[2]


def test_runtimes_by_flag_may_be_ours_or_anothers_own() -> None:
    assert parse_runtimes("tuned, onnxruntime,tuned") == ("tuned", "onnxruntime")
    assert parse_runtimes("my.package:Runtime") == ("my.package:Runtime",)
    for text, words in ((" , ", "none given"), ("tuend", "did you mean 'tuned'?")):
        with pytest.raises(UsageError, match=words.replace("?", r"\?")):
            parse_runtimes(text)


def test_the_schema_describes_every_key_for_editors() -> None:
    schema = json_schema()
    json.dumps(schema)
    for model in (schema, *schema["$defs"].values()):
        assert model["additionalProperties"] is False
        for name, field in model["properties"].items():
            assert field.get("description") or "$ref" in field, name


def test_a_session_is_the_same_whatever_its_budget(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    same = [
        override(recipe, {"tuning.trials": 800}),
        override(recipe, {"tuning.trials_per_task_factor": 3}),
        override(recipe, {"tuning.trials_per_task": 9, "tuning.min_trials_per_task": 2}),
        override(recipe, {"tuning.max_seconds": 60.0, "tuning.patience": 50}),
        override(recipe, {"catalogue": "other.db", "output": "elsewhere"}),
    ]
    assert {session_digest(recipe)} == {session_digest(other) for other in same}
    different = [
        override(recipe, {"tuning.seed": 4}),
        override(recipe, {"tuning.measure.repeat": 9}),
        override(recipe, {"layout": "NHWC"}),
        override(recipe, {"target": "llvm -mcpu=x86-64"}),
    ]
    digests = {session_digest(other) for other in [recipe, *different]}
    assert len(digests) == len(different) + 1


def test_a_value_that_is_the_default_may_be_said_without_making_another_session(
    recipe_file: Path,
) -> None:
    recipe = load_recipe(recipe_file)
    said = override(
        recipe, {"tuning.seed": Tuning().seed, "tuning.measure.repeat": Measure().repeat}
    )
    assert session_digest(said) == session_digest(recipe)


def test_a_dumped_recipe_is_read_back_from_its_text(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    assert parse_recipe(f"# a comment\n{dump_recipe(recipe)}", "somewhere") == recipe
    with pytest.raises(RecipeError, match=r"somewhere:1: bogus: unknown key"):
        parse_recipe("bogus: 1\n" + dump_recipe(recipe), "somewhere")
