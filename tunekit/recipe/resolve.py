"""What becomes of a loaded recipe: flags laid over it, its text, its digest, its schema."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from tunekit.cache import file_digest
from tunekit.errors import UsageError
from tunekit.recipe.problems import Problem, problems
from tunekit.recipe.schema import Recipe

_FLAGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "trials": (("tuning", "trials"),),
    "trials_per_task": (("tuning", "trials_per_task"),),
    "trials_per_task_factor": (("tuning", "trials_per_task_factor"),),
    "min_trials_per_task": (("tuning", "min_trials_per_task"),),
    "max_seconds": (("tuning", "max_seconds"),),
    "patience": (("tuning", "patience"),),
    "seed": (("tuning", "seed"),),
    "repeat": (("tuning", "measure", "repeat"),),
    "min_repeat_ms": (("tuning", "measure", "min_repeat_ms"),),
    "timeout": (("tuning", "measure", "timeout_s"),),
    "jobs": (("tuning", "measure", "jobs"),),
    "overlap": (("tuning", "measure", "overlap"),),
    "threads": (("tuning", "measure", "threads"), ("reference", "threads")),
    "rpc_tracker": (("tuning", "rpc", "tracker"),),
    "rpc_key": (("tuning", "rpc", "key"),),
    "cc": (("tuning", "rpc", "cc"),),
    "target": (("target",),),
    "layout": (("layout",),),
    "runtimes": (("reference", "runtimes"),),
    "catalogue": (("catalogue",),),
    "artifacts": (("output",),),
}
"""The flags (with - for _) and the keys they stand for."""

_EXCLUSIVE = {"trials": "trials_per_task_factor", "trials_per_task_factor": "trials"}
"""A budget given by flag replaces the recipe's, however that one is written."""


def override(
    recipe: Recipe,
    *,
    trials: int | None = None,
    trials_per_task: int | None = None,
    trials_per_task_factor: int | None = None,
    min_trials_per_task: int | None = None,
    max_seconds: float | None = None,
    patience: int | None = None,
    seed: int | None = None,
    repeat: int | None = None,
    min_repeat_ms: int | None = None,
    timeout: float | None = None,
    jobs: int | None = None,
    overlap: bool | None = None,
    threads: int | None = None,
    rpc_tracker: str | None = None,
    rpc_key: str | None = None,
    cc: str | None = None,
    target: str | Mapping[str, Any] | None = None,
    layout: str | None = None,
    runtimes: Sequence[str] | None = None,
    catalogue: str | None = None,
    artifacts: str | Path | None = None,
) -> Recipe:
    """The recipe with flags laid over it and validated again; None leaves a value as it is.

    ``seed`` is the search's, ``timeout`` is in seconds for one candidate, ``jobs`` are builds at a
    time, ``overlap`` has candidates measured meanwhile, ``threads`` holds for
    measuring and for the reference runtimes, ``artifacts`` is the recipe's ``output``;
    ``rpc_tracker`` and ``rpc_key`` say where to measure, ``cc`` what links for there.
    Raises UsageError that names the flag.
    """
    given = {flag: value for flag, value in locals().items() if flag in _FLAGS}
    given = {flag: value for flag, value in given.items() if value is not None}
    if not given:
        return recipe
    if {"trials", "trials_per_task_factor"} <= given.keys():
        raise UsageError("--trials and --trials-per-task-factor cannot be given together")
    data = recipe.model_dump()
    by_path: dict[tuple[str, ...], str] = {}
    for flag, value in given.items():
        for path in _FLAGS[flag]:
            by_path[path] = flag
            _put(data, path, value)
        if flag in _EXCLUSIVE:
            _put(data, ("tuning", _EXCLUSIVE[flag]), None)
    _require_whole_rpc(data["tuning"]["rpc"])
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        messages = [
            f"{_flag_at(problem, by_path)}: {problem.message}" for problem in problems(error)
        ]
    raise UsageError("\n".join(dict.fromkeys(messages))) from None


def _require_whole_rpc(rpc: Mapping[str, Any] | None) -> None:
    if rpc is None:
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


def _flag_at(problem: Problem, flags: Mapping[tuple[str, ...], str]) -> str:
    """The flag whose value the problem is about; its key when it is about none of them."""
    for path, flag in flags.items():
        if problem.path[: len(path)] == path:
            return f"--{flag.replace('_', '-')}"
    return problem.key


def _put(data: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        if data[key] is None:
            data[key] = {}
        data = data[key]
    data[path[-1]] = value


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe as YAML, defaults written out; loading it gives an equal one.

    A relative path to a model or weights file would then start from where the text is saved:
    recipes from ``load_recipe`` hold absolute ones.
    """
    values = _readable(recipe.model_dump(mode="json"))
    text = _yaml(values, allow_unicode=True)
    # Line separators such as U+0085 would be read back as blanks: those are written as escapes.
    return text if text.replace("\n", "").isprintable() else _yaml(values, allow_unicode=False)


def _yaml(values: Any, *, allow_unicode: bool) -> str:
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 100
    yaml.allow_unicode = allow_unicode
    yaml.representer.add_representer(type(None), _null)
    stream = io.StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()


def _null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _readable(value: Any) -> Any:
    """Short lists of plain values on one line, as people write shapes."""
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        items = CommentedSeq(_readable(item) for item in value)
        if not any(isinstance(item, dict | list) for item in value):
            items.fa.set_flow_style()
        return items
    return value


_BUDGET = frozenset(
    {
        "trials",
        "trials_per_task",
        "trials_per_task_factor",
        "min_trials_per_task",
        "max_seconds",
        "patience",
    }
)
"""Keys of `tuning` that say how much is searched, and not for what."""


def recipe_digest(recipe: Recipe) -> str:
    """sha256 (hex) of what determines the work: model, target, layout, algorithms, huge pages,
    tuning.

    Name, catalogue, output and references do not count, nor does where a model or weights file
    lies: its content does. Where trials are measured is the host's matter.
    """
    return _digest(recipe.model_dump(mode="json", include=_WORK, exclude=_WHERE), recipe)


def session_digest(recipe: Recipe) -> str:
    """sha256 (hex) of what makes two runs of recipes one session: `recipe_digest` without the
    budget and without the number of builds at a time.

    Values that are the defaults do not count: a key that a later version adds leaves it as it is.
    """
    unsaid: dict[str, Any] = {
        "tuning": {**_WHERE["tuning"], **dict.fromkeys(_BUDGET, True), "measure": {"jobs": True}}
    }
    work = recipe.model_dump(mode="json", include=_WORK, exclude=unsaid, exclude_defaults=True)
    return _digest(work, recipe)


_WORK = {
    *("model", "target", "layout", "algorithms", "winograd_relative_error", "huge_pages"),
    "tuning",
}
_WHERE: dict[str, dict[str, Any]] = {"tuning": {"rpc": True}}


def _digest(work: dict[str, Any], recipe: Recipe) -> str:
    model = work["model"]
    if recipe.model.is_file:
        model["source"] = _content(Path(recipe.model.source))
    if recipe.model.weights is not None:
        model["weights"] = _content(recipe.model.weights)
    text = json.dumps(work, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _content(file: Path) -> str:
    """The file's sha256, or its path while it is not there."""
    return f"sha256:{file_digest(file)}" if file.is_file() else str(file)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a recipe, for editors."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
