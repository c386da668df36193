"""A model where a recipe could stand: the recipe that says what the model's file leaves open."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from tunekit.errors import RecipeError, TunekitError, UsageError
from tunekit.models.registry import file_kind
from tunekit.models.spec import DeclaredInput
from tunekit.recipe import InputSpec, Recipe
from tunekit.recipe.axes import require_size
from tunekit.recipe.problems import problems
from tunekit.recipe.values import FOLDER, SOURCE_FORMS, SOURCE_PREFIXES, SOURCE_SUFFIXES
from tunekit.wording import did_you_mean

Shape = Sequence[int]
InputShapes = Mapping[str, Shape | tuple[Shape, str]]
"""The shape of each input by its name, or shape and dtype: `{"ids": ((1, 128), "int64")}`."""

Dims = Mapping[str, int | Sequence[int]]
"""One size or several by the name of what has it: `{"batch": 1}`, `{"batch": (1, 2, 4)}`."""

_LIKELY = {"batch": 1, "n": 1, "height": 224, "width": 224, "h": 224, "w": 224}
"""What a size of this name mostly is, for examples in messages."""
_LIKELY_OTHER = 128


def is_model(text: str) -> bool:
    """Whether a model is named and not a recipe: a source, or an .onnx or .pt2 file."""
    return text.partition(":")[0] in SOURCE_PREFIXES or _suffix(text) in SOURCE_SUFFIXES


def recipe_of_model(
    model: str,
    *,
    inputs: InputShapes | None = None,
    dims: Dims | None = None,
    name: str | None = None,
) -> Recipe:
    """A recipe for a model that has none: its name, its inputs, and defaults for the rest.

    Args:
        model: `torchvision:<model>`, `python:<package.module>:<callable>`, or an .onnx or .pt2
            file, found from the working directory.
        inputs: shapes, with a dtype where float32 or the file's own is not meant. What they leave
            out is what the file declares.
        dims: sizes that the file leaves open, by the names it has for them; several sizes of one
            become an axis.
        name: of the recipe; the model's where there is none.

    Raises:
        UsageError: sizes are open or inputs unknown; the hint has the flags that say them.
        RecipeError: there is no such file or kind of source.
        ModelFileError: the file cannot be read.
    """
    inputs, dims = inputs or {}, dims or {}
    axes = {name: list(sizes) for name, sizes in dims.items() if not isinstance(sizes, int)}
    suffix = _suffix(model) if model.partition(":")[0] not in SOURCE_PREFIXES else None
    if suffix is None:
        if dims:
            raise UsageError(
                f"--dim: {model} has no sizes with names", hint="give the shapes: --input x=1x128"
            )
        if not inputs:
            raise UsageError(
                f"{model} does not say what goes into it",
                hint="give each input's name and shape, like --input input=1x3x224x224",
            )
        specs = [_spec(name, given, "float32") for name, given in inputs.items()]
    else:
        path = _existing(model)
        declared = file_kind(suffix).declared_inputs(path)
        model, specs = str(path), _resolved(path.name, declared, inputs, dims)
    own = model.rpartition(":")[2] if suffix is None else Path(model).stem
    # Of a name in other letters nothing would be left.
    name = name if name and re.search("[A-Za-z0-9]", name) else own
    return _validated(
        {
            "name": _recipe_name(name),
            "model": {
                "source": model,
                "inputs": [spec.model_dump() for spec in specs],
                **({"axes": axes} if axes else {}),
            },
        },
        model,
    )


def remarks_on_inputs(recipe: Recipe) -> dict[str, str]:
    """What the inputs hold by default, by their names.

    None where the model cannot be loaded; models that take only floats are not loaded for it.
    """
    from tunekit.models.registry import load_source
    from tunekit.models.samples import remark

    if all(item.dtype.startswith("float") for item in recipe.model.inputs):
        return {}
    try:
        likely = load_source(recipe.model.smallest).likely_values
    except TunekitError:
        return {}  # Told where the recipe is used.
    return {name: remark(values) for name, values in likely.items()}


def at_dims(recipe: Recipe, dims: Dims) -> Recipe:
    """The recipe at one size of the several that it has.

    Raises:
        UsageError: it has no such axis or size.
    """
    axes = recipe.model.axes
    if not axes:
        raise UsageError(
            f"--dim: {recipe.name} is a recipe, which has no sizes with names",
            hint="give another shape, like --input input=8x3x224x224, or sizes in the recipe, like "
            "model.axes: {batch: [1, 8]}",
        )
    size = {name: number for name, number in dims.items() if isinstance(number, int)}
    if size != dims:
        raise UsageError("--dim: of a recipe's sizes one of each axis is chosen")
    try:
        require_size(axes, size)
    except PydanticCustomError as error:
        raise UsageError(f"--dim: {error}") from None
    return recipe.at({name: size[name] for name in axes})


def with_inputs(recipe: Recipe, inputs: InputShapes) -> Recipe:
    """The recipe with other shapes for some of its inputs.

    Raises:
        UsageError: it has no input of that name, or the shape is none.
    """
    known = {spec.name: spec for spec in recipe.model.inputs}
    for name, given in inputs.items():
        if known and name not in known:
            raise UsageError(
                f"--input {name}: the recipe has no such input{did_you_mean(name, known)}",
                hint=f"its inputs are {', '.join(known)}",
            )
        own = known.get(name)
        if own is not None and own.is_bound:
            raise UsageError(
                f"--input {name}: the recipe gives it a value, so that it is no input any more",
                hint="change model.inputs in the recipe",
            )
        spec = _spec(name, given, own.dtype if own else "float32")
        said = {"shape": spec.shape, "dtype": spec.dtype}
        known[name] = own.model_copy(update=said) if own else spec
    data = recipe.model_dump()
    data["model"]["inputs"] = [spec.model_dump() for spec in known.values()]
    return _validated(data, recipe.name)


def parse_inputs(texts: Iterable[str]) -> dict[str, tuple[Shape, str] | Shape]:
    """Inputs as typed: `ids=1x128` or `ids=1x128:int64` each.

    Raises:
        UsageError: one is something else.
    """
    inputs: dict[str, tuple[Shape, str] | Shape] = {}
    for text in texts:
        match = re.fullmatch(r"(.+?)=(\d+(?:x\d+)*)(?::(\w+))?", text)
        if match is None:
            raise UsageError(
                f"--input {text}: must be name=shape or name=shape:dtype",
                hint="like --input input=1x3x224x224 or --input ids=1x128:int64",
            )
        name, shape = match[1], tuple(int(size) for size in match[2].split("x"))
        inputs[name] = (shape, match[3]) if match[3] else shape
    return inputs


def parse_dims(texts: Iterable[str]) -> dict[str, int | Sequence[int]]:
    """Sizes as typed: `batch=1` or `batch=1,2,4` each.

    Raises:
        UsageError: one is something else.
    """
    dims: dict[str, int | Sequence[int]] = {}
    for text in texts:
        match = re.fullmatch(r"(.+)=(\d+(?:,\d+)*)", text)
        sizes = [int(size) for size in match[2].split(",")] if match else []
        if match is None or not all(sizes):
            raise UsageError(
                f"--dim {text}: must be name=size", hint="like --dim batch=1 or --dim batch=1,2,4"
            )
        dims[match[1]] = sizes if len(sizes) > 1 else sizes[0]
    return dims


def _suffix(text: str) -> str:
    return Path(text).suffix.lower()


def _existing(model: str) -> Path:
    path = Path(model).expanduser().absolute()
    if path.is_file():
        return path
    near = did_you_mean(path.name, [file.name for file in path.parent.glob(f"*{path.suffix}")])
    raise RecipeError(f"{model}: no such file{near}", file=path)


def _resolved(
    model: str,
    declared: Sequence[DeclaredInput],
    inputs: InputShapes,
    dims: Dims,
) -> list[InputSpec]:
    """The inputs that a file declares, with what it leaves open filled in."""
    known = {item.name: item for item in declared}
    for name in inputs:
        if name not in known:
            raise UsageError(
                f"--input {name}: {model} has no such input{did_you_mean(name, known)}",
                hint=f"its inputs are {'; '.join(map(str, declared))}",
            )
    names = [name for item in declared for name in item.open]
    for name in dims:
        if name not in names and not any(name in item.dims for item in declared):
            raise UsageError(
                f"--dim {name}: {model} has no size of that name{did_you_mean(name, names)}",
                hint=f"its inputs are {'; '.join(map(str, declared))}",
            )
    shapes = {item.name: _shape(item, dims) for item in declared}
    left = [item for item in declared if item.name not in inputs and shapes[item.name] is None]
    if left:
        raise _open_sizes(model, left)
    return [
        _spec(item.name, inputs.get(item.name) or shapes[item.name] or (), item.dtype)
        for item in declared
    ]


def _shape(item: DeclaredInput, dims: Dims) -> tuple[int | str, ...] | None:
    """Its shape, with the names of those sizes of which several are given; None where some size is
    left open."""
    single = {name: size for name, size in dims.items() if isinstance(size, int)}
    several = dims.keys() - single.keys()
    fixed = replace(item, dims=tuple(1 if dim in several else dim for dim in item.dims))
    shape = fixed.resolved(single)
    if shape is None:
        return None
    return tuple(
        str(dim) if dim in several else size for dim, size in zip(item.dims, shape, strict=True)
    )


def _open_sizes(model: str, declared: Sequence[DeclaredInput]) -> UsageError:
    """All that is to be said in one message, with flags to copy."""
    likely = {
        name: _LIKELY.get(name.lower(), _LIKELY_OTHER) for item in declared for name in item.open
    }
    shapes = " ".join(
        f"--input {item.name}={'x'.join(map(str, item.example(likely, _LIKELY_OTHER)))}"
        for item in declared
    )
    hint = f"say them, for example {shapes}"
    if all(item.is_named for item in declared):
        named = [f"--dim {shlex.quote(name)}={size}" for name, size in likely.items()]
        hint += f", or {' '.join(named)}"
    return UsageError(
        f"{model} leaves sizes open: {'; '.join(map(str, declared))}",
        hint=hint,
    )


def _spec(
    name: str, given: Shape | tuple[Shape, str] | tuple[int | str, ...], dtype: str
) -> InputSpec:
    shape: Any = given
    if len(given) == 2 and isinstance(given[1], str) and not isinstance(given[0], int | str):
        shape, dtype = given[0], given[1]
    try:
        return InputSpec.model_validate(
            {
                "name": name,
                "shape": [size if isinstance(size, str) else int(size) for size in shape],
                "dtype": dtype,
            }
        )
    except (TypeError, ValueError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            problem = next(problems(error))
            reason = f"{problem.key}: {problem.message}"
        raise UsageError(f"--input {name}: {reason}") from None


def _recipe_name(name: str) -> str:
    """The model's name, as far as it can name a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:100] or "model"


def _validated(data: dict[str, Any], what: str) -> Recipe:
    try:
        return Recipe.model_validate(data, context={FOLDER: Path.cwd()})
    except ValidationError as error:
        text = "; ".join(
            problem.message
            if problem.key == "model.source"
            else f"{problem.key}: {problem.message}"
            for problem in problems(error)
        )
    raise RecipeError(f"{what}: {text}", hint=f"a model is {SOURCE_FORMS}") from None
