"""A model at several sizes: which axes its outputs have, and whether zeros behind the values of a
smaller size leave the outputs as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.errors import ModelError, TunekitError
from tunekit.models.registry import load_source
from tunekit.recipe.axes import in_words

if TYPE_CHECKING:
    from tunekit.cache import ContentCache
    from tunekit.models.source import SourceModel
    from tunekit.recipe import ModelSpec, Recipe, Size

NO_AXIS = -1
AxesOf = tuple[int, ...]
"""The number of the axis that each dimension of a tensor is, or NO_AXIS."""
Sizes = tuple[int, ...]
"""Of each axis, in order."""
Shapes = Mapping[Sizes, Sequence[tuple[int, ...]]]
"""Of all outputs, by the size of the model."""


@contextmanager
def told_at(size: Size) -> Iterator[None]:
    """Errors in here say at which size they came up."""
    try:
        yield
    except TunekitError as error:
        if size:
            error.message = f"at {in_words(size)}: {error.message}"
            error.args = (error.message,)
        raise


@dataclass(frozen=True)
class SizedModel:
    """A model at several sizes.

    Attributes:
        sources: the model at each, in order.
        output_axes: the axes of each output's dimensions; none where it has one size.
    """

    sources: Sequence[SourceModel]
    output_axes: Sequence[AxesOf] = ()


def load_sizes(recipe: Recipe, cache: ContentCache) -> SizedModel:
    """A recipe's model at each of its sizes; refused where they do not make one library.

    Raises:
        ModelError: it does not accept a size, its outputs are other ones there, or zeros behind
            the values change them although the recipe says that they do not.
    """
    sources: list[SourceModel] = []
    for one in recipe.at_each_size:
        with told_at(one.model.size):
            sources.append(load_source(one.model, cache))
            _require_same_outputs(sources[0], sources[-1])
    if not recipe.model.each_size:
        return SizedModel(sources)
    by_size = {
        tuple(size.values()): source
        for size, source in zip(recipe.model.each_size, sources, strict=True)
    }
    return SizedModel(sources, _output_axes(recipe, by_size, cache))


def input_axes(spec: ModelSpec, names: Sequence[str]) -> list[AxesOf]:
    """The axes of the dimensions of each input of these names."""
    numbers = {name: number for number, name in enumerate(spec.axes)}
    shapes = {item.name: item.shape for item in spec.inputs}
    return [
        tuple(numbers[size] if isinstance(size, str) else NO_AXIS for size in shapes[name])
        for name in names
    ]


def _axis_of(axes: int, shapes: Shapes, output: int, dim: int) -> int:
    extents = {sizes: of_all[output][dim] for sizes, of_all in shapes.items()}
    for number in range(axes):
        varies = len({sizes[number] for sizes in extents}) > 1
        if varies and all(sizes[number] == extent for sizes, extent in extents.items()):
            return number
    return NO_AXIS


def _require_same_outputs(first: SourceModel, source: SourceModel) -> None:
    """Refuses a model that has other outputs at another size, but for their sizes."""
    kinds = [[(spec.dtype, len(spec.shape)) for spec in model.outputs] for model in (first, source)]
    if kinds[0] != kinds[1]:
        raise ModelError(
            f"{source.name} has other outputs than at its smallest size: "
            f"{'; '.join(map(str, source.outputs))} in place of "
            f"{'; '.join(map(str, first.outputs))}",
            hint="compile it for each size by itself",
        )


def _output_axes(
    recipe: Recipe, by_size: Mapping[Sizes, SourceModel], cache: ContentCache
) -> list[AxesOf]:
    """The axes of each output's dimensions: those whose sizes an extent has at every size.

    Of each axis that is to be padded, the framework runs a smaller size with zeros behind its
    values.

    Raises:
        ModelError: the outputs are others then.
    """
    spec = recipe.model
    largest = tuple(axis.sizes[-1] for axis in spec.axes.values())
    probes = {}
    for number, (name, axis) in enumerate(spec.axes.items()):
        if axis.is_padded and axis.sizes[-1] > 1:
            smaller = axis.sizes[-2] if len(axis.sizes) > 1 else axis.sizes[-1] - 1
            sizes = (*largest[:number], smaller, *largest[number + 1 :])
            size = dict(zip(spec.axes, sizes, strict=True))
            with told_at(size):
                probes[name] = sizes, by_size.get(sizes) or load_source(spec.at(size), cache)
    shapes = {
        sizes: [output.shape for output in source.outputs]
        for sizes, source in (*by_size.items(), *probes.values())
    }
    axes = [
        tuple(_axis_of(len(spec.axes), shapes, output, dim) for dim in range(len(shape)))
        for output, shape in enumerate(shapes[largest])
    ]
    for name, (_, source) in probes.items():
        number = list(spec.axes).index(name)
        _require_known_cut(name, number, shapes, axes, source)
        _require_equal_outputs(name, recipe, by_size[largest], source)
    return axes


def _require_known_cut(
    name: str,
    number: int,
    shapes: Shapes,
    axes: Sequence[AxesOf],
    source: SourceModel,
) -> None:
    """Refuses outputs of which nobody can say what comes of the zeros."""
    for output, of_output in enumerate(axes):
        for dim, axis in enumerate(of_output):
            others: dict[Sizes, set[int]] = {}
            for sizes, of_all in shapes.items():
                rest = (*sizes[:number], *sizes[number + 1 :])
                others.setdefault(rest, set()).add(of_all[output][dim])
            if axis != number and any(len(extents) > 1 for extents in others.values()):
                raise ModelError(
                    f"{source.name} cannot be padded in {name}: dimension {dim} of output "
                    f"{source.outputs[output].name!r} changes with it and is not equal to it, so "
                    "that nobody can say what to cut off",
                    hint=f"padding: none for {name}, with every size that is needed",
                )


def _require_equal_outputs(
    name: str, recipe: Recipe, large: SourceModel, small: SourceModel
) -> None:
    import numpy as np

    values = small.sample_inputs(recipe.model.seed)
    padded = {}
    for spec in large.inputs:
        padded[spec.name] = np.zeros(spec.shape, spec.dtype)
        padded[spec.name][_box(values[spec.name].shape)] = values[spec.name]
    expected = small.reference(values)
    actual = [
        output[_box(array.shape)]
        for output, array in zip(large.reference(padded), expected, strict=True)
    ]
    comparison = small.compare(expected, actual)
    limit = max(recipe.reference.relative_error, small.rounding_step(expected))
    if not comparison.within(limit):
        off = comparison.reason or f"relative error {comparison.relative_error:.1e}"
        raise ModelError(
            f"{small.name} cannot be padded in {name}: with zeros behind them, the same values "
            f"have other outputs in {small.framework} ({off}, allowed {limit:.0e})",
            hint=f"padding: none for {name}, with every size that is needed",
        )


def _box(shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(extent) for extent in shape)
