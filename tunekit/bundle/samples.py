"""Sample inputs, and what the model's framework gives for them: what a bundle is checked with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.accuracy import Comparison, compare
from tunekit.bundle.manifest import SampleEntry
from tunekit.errors import VerificationFailed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tunekit.models.source import SourceModel
    from tunekit.recipe import Recipe

    Array = npt.NDArray[np.generic]

_SEEDS = (1, 2)
FOLDER = "samples"
ITSELF = "library"
"""In place of a framework, where the outputs of samples are the library's own."""
FRAMEWORKS = {"pytorch": "PyTorch", "onnx": "ONNX Runtime", ITSELF: "the library itself"}
"""As people write them."""
# The library's kernels are the same everywhere, but exponentials are those of the C library.
_OWN_ERROR = 1e-5


@dataclass(frozen=True)
class Sample:
    """Inputs by name, the framework's outputs in order, the relative error to be allowed, how
    outputs are compared, of a model of several sizes the size of each axis, and whether outputs
    are matched."""

    inputs: Mapping[str, Array]
    outputs: Sequence[Array]
    relative_error: float
    compare: Callable[[Sequence[Array], Sequence[Array]], Comparison] = compare
    size: Sequence[int] = ()
    matched: bool = False


def samples_of(source: SourceModel, recipe: Recipe) -> list[Sample]:
    """Seeded inputs of a recipe's model, with its own outputs."""
    limit = recipe.reference.relative_error
    samples = []
    for seed in _SEEDS:
        inputs = source.sample_inputs(recipe.model.seed + seed)
        outputs = source.reference(inputs)
        allowed = max(limit, source.rounding_step(outputs))
        size = [recipe.model.size[name] for name in recipe.model.axes]
        matched = source.finds_objects
        samples.append(Sample(inputs, outputs, allowed, source.compare, size, matched))
    return samples


def require_right(samples: Sequence[Sample], actual: Sequence[Sequence[Array]]) -> None:
    """Refuses a library whose outputs are not within what is allowed of the samples'.

    Raises:
        VerificationFailed: they are not.
    """
    for sample, outputs in zip(samples, actual, strict=True):
        comparison = sample.compare(sample.outputs, outputs)
        if not comparison.within(sample.relative_error):
            error = comparison.relative_error
            reason = f"relative error {error:.2e}, allowed {sample.relative_error:.0e}"
            raise VerificationFailed(
                "the library's outputs differ from the model's: "
                + (reason if math.isfinite(error) else str(comparison.reason)),
                hint="the model or its framework has changed since: `tunekit compile RECIPE` "
                "compiles it again",
            )


def as_given(samples: Sequence[Sample], actual: Sequence[Sequence[Array]]) -> list[Sample]:
    """The samples, with what a library that is right gave where outputs are matched: the bundle
    compares element by element, in which two detectors that find the same may differ."""
    return [
        replace(sample, outputs=outputs, relative_error=_OWN_ERROR) if sample.matched else sample
        for sample, outputs in zip(samples, actual, strict=True)
    ]


def write_samples(samples: Sequence[Sample], folder: Path) -> tuple[SampleEntry, ...]:
    """Writes them below samples/ in a bundle's folder, a file for each tensor."""
    entries = []
    for number, sample in enumerate(samples):
        place = f"{FOLDER}/{number}"
        (folder / place).mkdir(parents=True)
        entries.append(
            SampleEntry(
                inputs=_write(folder, f"{place}/input", list(sample.inputs.values())),
                outputs=_write(folder, f"{place}/output", sample.outputs),
                relative_error=sample.relative_error,
                size=tuple(sample.size),
            )
        )
    return tuple(entries)


def _write(folder: Path, prefix: str, arrays: Sequence[Array]) -> tuple[str, ...]:
    # tobytes() is compact, the last axis fastest; hosts of TVM are little-endian.
    names = tuple(f"{prefix}{index}.raw" for index in range(len(arrays)))
    for name, array in zip(names, arrays, strict=True):
        (folder / name).write_bytes(array.tobytes())
    return names
