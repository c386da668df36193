"""From a YAML file to a Recipe, with every problem named by file, line and key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from tunekit.errors import RecipeError
from tunekit.recipe.problems import Problem, problems
from tunekit.recipe.ready import ready_recipes
from tunekit.recipe.schema import Recipe
from tunekit.recipe.values import FOLDER, SOURCE_FORMS, SOURCE_SUFFIXES
from tunekit.wording import did_you_mean, shown

_LARGEST_FILE_BYTES = 1 << 20
"""A recipe is a page of text; what is larger is another file, named by mistake."""

_START_HINT = (
    "a recipe starts with `name: ...` and `model:`; `tunekit recipe list` shows ready ones"
)

_OTHER_MODELS = {
    ".pt": "torch.export.save writes .pt2 files, which tunekit reads",
    ".pth": "weights are named by model.weights of a recipe; torch.export.save writes .pt2 files",
    ".safetensors": "weights alone are no model: build it in a function, and name that as "
    "python:<package.module>:<callable>",
    ".h5": "convert it to ONNX",
    ".keras": "convert it to ONNX",
    ".pb": "convert it to ONNX",
    ".tflite": "convert it to ONNX",
}
"""Model files that tunekit does not read, and what to do with them."""


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a YAML file, with the paths of its model resolved from the file's folder.

    Raises:
        RecipeError: every problem with its line and key (exit code 2).
    """
    file = Path(path)
    data, node = _parse(file, _read(file))
    try:
        return Recipe.model_validate(data, context={FOLDER: file.resolve().parent})
    except ValidationError as error:
        located_problems = [(_line(node, problem.path), problem) for problem in problems(error)]
    raise _refusal(file, located_problems) from None


def parse_recipe(text: str, name: str) -> Recipe:
    """A recipe as `dump_recipe` wrote it; `name` is where it comes from, for messages.

    That its files are there is not looked at.

    Raises:
        RecipeError: as for `load_recipe`.
    """
    place = Path(name)
    data, node = _parse(place, text)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        located_problems = [(_line(node, problem.path), problem) for problem in problems(error)]
    raise _refusal(place, located_problems) from None


def _read(file: Path) -> str:
    if file.is_dir():
        inside = sorted(item.name for item in file.glob("*.y*ml"))
        hint = f"it holds {', '.join(inside)}" if inside else None
        raise RecipeError(f"{file}: is a directory, not a recipe", file=file, hint=hint)
    _refuse_model(file)
    try:
        size = file.stat().st_size
        if size > _LARGEST_FILE_BYTES:
            raise RecipeError(
                f"{file}: is not a recipe: {size} bytes are too many for one", file=file
            )
        return file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        near = did_you_mean(file.name, [item.name for item in file.parent.glob("*.y*ml")])
        raise RecipeError(f"{file}: no such file{near}", file=file, hint=_instead(file)) from None
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{file}: is not a text file (byte {error.start} is not UTF-8)",
            file=file,
            hint=_START_HINT,
        ) from None
    except OSError as error:
        raise RecipeError(f"{file}: cannot be read: {error.strerror}", file=file) from None


def _refuse_model(file: Path) -> None:
    """Tells who names a model, where only recipes are read, what to do."""
    suffix = file.suffix.lower()
    if suffix in SOURCE_SUFFIXES:
        raise RecipeError(
            f"{file}: is a model, not a recipe",
            file=file,
            hint=f"`tunekit recipe new {file}` writes a recipe for it",
        )
    if suffix in _OTHER_MODELS:
        raise RecipeError(
            f"{file}: is neither a recipe nor a model that tunekit reads (.onnx or .pt2)",
            file=file,
            hint=_OTHER_MODELS[suffix],
        )


def _instead(file: Path) -> str | None:
    """What may have been meant by a recipe that is not there."""
    if file.stem in ready_recipes():
        return f"`tunekit recipe copy {file.stem}` writes the ready one here"
    if file.suffix.lower() not in (".yaml", ".yml"):
        return f"a recipe is a YAML file; a model is {SOURCE_FORMS}"
    return None


def _parse(file: Path, text: str) -> tuple[dict[Any, Any], Node]:
    """The plain values, and the nodes that know their lines."""
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        data = yaml.load(text)
    except DuplicateKeyError as error:
        line = _mark_line(error)
        what = (error.problem or "a key is given twice").split(" with value ")[0]
        raise RecipeError(
            f"{_place(file, line)}: {what}", file=file, line=line, hint="keep one of the two"
        ) from None
    except MarkedYAMLError as error:
        line = _mark_line(error)
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise RecipeError(
            f"{_place(file, line)}: is not valid YAML: {what}", file=file, line=line
        ) from None
    except (YAMLError, ValueError, RecursionError) as error:
        # ValueError: dates such as 2020-99-99, which the parser hands to datetime.
        what = " ".join(str(error).split())[:200]
        raise RecipeError(f"{file}: is not valid YAML: {what}", file=file) from None
    if data is None:
        raise RecipeError(f"{file}: is empty", file=file, hint=_START_HINT)
    if not isinstance(data, dict):
        raise RecipeError(
            f"{file}: must be a mapping of keys to values, not {shown(data)}",
            file=file,
            line=1,
            hint=_START_HINT,
        )
    return data, node


def _mark_line(error: MarkedYAMLError) -> int | None:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return None
    return int(mark.line) + 1


def _line(node: Node, path: Sequence[str | int]) -> int:
    """The line (from 1) of the key or element that `path` leads to, or of what is nearest."""
    line: int = node.start_mark.line + 1
    for part in path:
        if isinstance(node, MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if not pairs:
                break
            key, node = pairs[0]
            line = key.start_mark.line + 1
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _place(file: Path, line: int | None) -> str:
    return f"{file}" if line is None else f"{file}:{line}"


def _refusal(file: Path, located_problems: list[tuple[int, Problem]]) -> RecipeError:
    located_problems = sorted(located_problems, key=lambda item: item[0])
    line, first = located_problems[0]
    texts = [
        f"{_place(file, problem_line)}: {problem.key}: {problem.message}"
        for problem_line, problem in located_problems
    ]
    if len(texts) > 1:
        texts = [f"{file}: {len(texts)} problems", *(f"  {text}" for text in texts)]
    return RecipeError("\n".join(texts), file=file, line=line, key=first.key)
