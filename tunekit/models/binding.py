"""How the recipe's inputs become the arguments of a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tunekit.errors import ModelFileError
from tunekit.models.spec import TensorSpec
from tunekit.wording import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tunekit.recipe.inputs import InputSpec
    from tunekit.recipe.schema import ModelSpec

    BoundValue = npt.NDArray[np.generic] | bool | int | float


def given_inputs(spec: ModelSpec) -> list[TensorSpec]:
    """The recipe's inputs that the library has too: those that are not bound, in order."""
    return [
        TensorSpec(item.name, spec.shape_of(item), item.dtype, item.sample_values)
        for item in spec.inputs
        if not item.is_bound
    ]


def bound_values(spec: ModelSpec) -> dict[str, BoundValue]:
    """The values of the recipe's inputs that are constants, by name.

    A number without a shape is that number; everything else is an array of the input's shape and
    dtype, in which a number stands everywhere.

    Raises:
        ModelFileError: a value does not have the shape that the recipe gives.
    """
    return {
        item.name: _bound_value(item, spec.shape_of(item)) for item in spec.inputs if item.is_bound
    }


def _bound_value(item: InputSpec, shape: tuple[int, ...]) -> BoundValue:
    import numpy as np

    value: Any = item.value
    if isinstance(value, bool | int | float) and not shape:
        return value
    if isinstance(value, str):
        try:
            value = np.load(Path(value), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ModelFileError(f"the value of input {item.name!r}: {error}") from error
    array = np.asarray(value, item.dtype)
    if array.ndim == 0:
        return np.full(shape, array)
    if array.shape != shape:
        raise ModelFileError(
            f"the value of input {item.name!r} has shape {list(array.shape)}, and the recipe gives "
            f"{list(shape)}"
        )
    return array


def keyword_order(
    forward: Callable[..., Any],
    inputs: Sequence[TensorSpec],
    model: str,
    bound: Collection[str] = (),
) -> tuple[str, ...] | None:
    """How to call `forward` with the inputs: None by position, else by these names.

    Names that are all parameters of `forward` are taken by name, whatever their order; names
    of which none is one are the recipe's own, and taken by position. Where parameters are `bound`
    to constants, the others are always given by name.

    Raises:
        ModelFileError: anything between, or too few or too many inputs.
    """
    parameters = inspect.signature(forward).parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    by_name_alone = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    takes_names = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    strange = set(bound) - {parameter.name for parameter in parameters}
    if strange and not takes_names:
        raise ModelFileError(
            f"{model} has no input {min(strange)!r}, which the recipe gives a value"
            f"{did_you_mean(min(strange), [parameter.name for parameter in positional])}"
        )
    positional = [parameter for parameter in positional if parameter.name not in bound]
    known = [parameter.name for parameter in positional]
    names = [spec.name for spec in inputs]
    unknown = [name for name in names if name not in known]
    if takes_names and unknown and not takes_any:
        return tuple(names)
    if takes_any or not known:
        return None if not bound else tuple(names)
    if len(names) > len(known):
        raise ModelFileError(
            f"{model} takes {len(known)} inputs ({', '.join(known)}), and the recipe gives "
            f"{len(names)} ({', '.join(names)})"
        )
    if unknown and len(unknown) < len(names):
        raise ModelFileError(
            f"{model} has no input {unknown[0]!r}{did_you_mean(unknown[0], known)}; it takes "
            f"{', '.join(known)}",
            hint="name the recipe's model.inputs as the model does",
        )
    required = [parameter.name for parameter in positional if parameter.default is parameter.empty]
    given = known[: len(names)] if unknown else names
    missing = [name for name in required if name not in given]
    if missing:
        raise ModelFileError(
            f"{model} also needs input{'s' if len(missing) > 1 else ''} {', '.join(missing)}; the "
            f"recipe gives {', '.join(names)}"
        )
    if bound:
        return tuple(given)
    if set(given) & set(by_name_alone):
        return tuple(given)
    return None if names == known[: len(names)] or unknown else tuple(names)


def require_inputs(
    model: str,
    declared: Sequence[TensorSpec],
    given: Sequence[TensorSpec],
    *,
    whole: bool = True,
) -> None:
    """Check the recipe's inputs against those that a model file declares, by name.

    A size of 0 in `declared` is one that the recipe may choose. `whole` says that all that are
    declared must be given.

    Raises:
        ModelFileError: names the input and says what was expected.
    """
    known = {spec.name: spec for spec in declared}
    for spec in given:
        expected = known.get(spec.name)
        if expected is None:
            raise ModelFileError(
                f"{model} has no input {spec.name!r}{did_you_mean(spec.name, known)}; its inputs "
                f"are {'; '.join(map(describe, known.values()))}"
            )
        fits = len(expected.shape) == len(spec.shape) and all(
            declared_size in (0, size)
            for declared_size, size in zip(expected.shape, spec.shape, strict=True)
        )
        if not fits:
            raise ModelFileError(
                f"input {spec.name!r} of {model} has shape {_sizes(expected.shape)}, and the "
                f"recipe gives {_sizes(spec.shape)}"
            )
        if expected.dtype != spec.dtype:
            raise ModelFileError(
                f"input {spec.name!r} of {model} has dtype {expected.dtype}, and the recipe gives "
                f"{spec.dtype}"
            )
    missing = [name for name in known if name not in {spec.name for spec in given}]
    if missing and whole:
        raise ModelFileError(
            f"{model} also needs input {describe(known[missing[0]])}; the recipe gives "
            f"{', '.join(spec.name for spec in given)}"
        )


def require_dtype(name: str, dtype: str) -> None:
    """Refuses an input of an element type that libraries do not take.

    Raises:
        ModelFileError: it is text, complex, or a short float or integer.
    """
    from tunekit.recipe.inputs import DType

    known = get_args(DType)
    if dtype not in known:
        raise ModelFileError(
            f"input {name!r} is {'text' if dtype == 'object' else dtype}; libraries take "
            f"{', '.join(known[:-1])} and {known[-1]}",
            hint="let the model take one of these, and convert it inside",
        )


def require_fixed(model: str, declared: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The declared inputs, for a recipe that gives none.

    Raises:
        ModelFileError: the size of an input is open.
    """
    for spec in declared:
        if 0 in spec.shape:
            raise ModelFileError(
                f"input {describe(spec)} of {model} has sizes that are not fixed",
                hint=f"give the recipe model.inputs: [{{name: {spec.name}, shape: [...]}}]",
            )
    return tuple(declared)


def describe(spec: TensorSpec) -> str:
    """`x: [1, 3, ?, ?] float32`."""
    return f"{spec.name}: {_sizes(spec.shape)} {spec.dtype}"


def _sizes(shape: Sequence[int]) -> str:
    return f"[{', '.join(str(size) if size else '?' for size in shape)}]"
