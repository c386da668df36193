"""Values laid over a recipe by their dotted keys, as flags and the Python API give them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tunekit.errors import UsageError
from tunekit.recipe.problems import KeyPath, Problem, model_in, problems
from tunekit.recipe.schema import Recipe
from tunekit.recipe.values import FOLDER
from tunekit.wording import did_you_mean

_BUDGETS = ("tuning.trials", "tuning.trials_per_task_factor")
"""One of the two says how much is searched; one that is given replaces the recipe's other."""

_FREE = ("target", "model.arguments", "model.axes", "model.size")
"""Mappings in which any key may stand."""

_PATHS = (
    *("model", "model.source", "model.folder", "model.weights"),
    *("model.inputs", "model.detector", "model.detector.samples"),
)
"""In which paths may be given relative to the working directory, of what has to be there."""


def override(
    recipe: Recipe, settings: Mapping[str, Any], *, names: Mapping[str, str] | None = None
) -> Recipe:
    """The recipe with these values in place of its own, validated again.

    Args:
        recipe: as it was loaded; it stays as it is.
        settings: values by their dotted keys, such as `{"tuning.measure.repeat": 10}`; None is
            what a key has when nothing is said.
        names: what the person typed for a key, such as `--trials`, for messages; by default the
            key itself.

    Raises:
        UsageError: a key is unknown or its value refused; it is named as in `names`.
    """
    if not settings:
        return recipe
    names = names or {}
    both = [key for key in _BUDGETS if settings.get(key) is not None]
    if len(both) > 1:
        typed = " and ".join(names.get(key, key) for key in both)
        raise UsageError(f"{typed} cannot be given together")
    data = recipe.model_dump()
    for key, value in settings.items():
        _put(data, key, value, names.get(key, key))
        if key in both:
            _put(data, next(other for other in _BUDGETS if other != key), None, key)
    _require_whole_rpc(data["tuning"])
    # A recipe that was loaded holds absolute paths: only those given here are looked for.
    context = {FOLDER: Path.cwd()} if any(key in _PATHS for key in settings) else None
    try:
        return Recipe.model_validate(data, context=context)
    except ValidationError as error:
        messages = [
            f"{_typed(problem, settings, names)}: {problem.message}" for problem in problems(error)
        ]
    raise UsageError("\n".join(dict.fromkeys(messages))) from None


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """Settings as typed, `tuning.measure.repeat=10` each; values are YAML, and nothing is null.

    Raises:
        UsageError: one has no `=`, an unknown key, or a value that is not YAML.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(
                f"--set {text}: must be key=value", hint="like --set tuning.measure.repeat=10"
            )
        try:
            settings[key.strip()] = YAML(typ="safe", pure=True).load(value)
        except (YAMLError, ValueError) as error:
            what = " ".join(str(error).split())[:120]
            raise UsageError(f"--set {key}: the value is not YAML: {what}") from None
    return settings


@functools.cache
def recipe_fields() -> Mapping[str, FieldInfo]:
    """All keys of a recipe, dotted and in its order, sections before what is in them.

    The description of a field is what the documentation, the JSON Schema and the help of a flag
    say about it.
    """
    return dict(_fields(Recipe, ""))


def description(key: str) -> str:
    """What a recipe's key means, on one line."""
    return " ".join((recipe_fields()[key].description or "").split())


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field
        inner = model_in(field.annotation)
        # The elements of a list have keys of their own, but none that leads to them.
        if inner is not None and not str(field.annotation).startswith(("tuple", "dict")):
            yield from _fields(inner, f"{prefix}{name}.")


def _put(data: dict[str, Any], key: str, value: Any, typed: str) -> None:
    """Puts a value where its key leads to.

    Raises:
        UsageError: nothing has that key.
    """
    _require_known(key, typed)
    *sections, last = key.split(".")
    default = value is None and key in recipe_fields()
    for section in sections:
        if default and not isinstance(data.get(section), dict):
            return
        if not isinstance(data.get(section), dict):
            data[section] = {}
        data = data[section]
    if default:
        data.pop(last, None)
    else:
        data[last] = value


def _require_known(key: str, typed: str) -> None:
    known = recipe_fields()
    if key in known or any(key.startswith(f"{free}.") for free in _FREE):
        return
    near = did_you_mean(key, known)
    same_name = [other for other in known if other.rpartition(".")[2] == key]
    if not near and same_name:
        near = f"; did you mean {same_name[0]!r}?"
    raise UsageError(
        f"{typed}: a recipe has no such key{near}", hint="`tunekit recipe keys` lists all there are"
    )


def _require_whole_rpc(tuning: Mapping[str, Any]) -> None:
    rpc = tuning.get("rpc") if isinstance(tuning, dict) else None
    if not isinstance(rpc, dict):
        return
    if "tracker" not in rpc:
        raise UsageError(
            "no RPC tracker is named",
            hint="--rpc-tracker host:port, or TVM_TRACKER_HOST and TVM_TRACKER_PORT",
        )
    if "key" not in rpc:
        raise UsageError(
            "an RPC tracker is named, but no kind of device",
            hint="--rpc-key or TVM_TRACKER_KEY; `tunekit devices` lists the keys there are",
        )


def _typed(problem: Problem, settings: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What was typed for the value that the problem is about; its key where nothing was."""
    for key in settings:
        path: KeyPath = tuple(key.split("."))
        if problem.path[: len(path)] == path:
            return names.get(key, problem.key)
    return problem.key
