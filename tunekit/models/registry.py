"""Kinds of sources, and what identifies a model.

One module for each kind of source, each with `fingerprint(spec)` (what determines the model,
cheaply) and `load(spec, digest, cache, state)`; those of files with `declared_inputs(path)` as
well. They load torch, onnx and TVM; this one does not.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from tunekit.cache import ContentCache, KeyPart, content_key, file_digest
from tunekit.errors import ModelFileError, UsageError
from tunekit.machine.toolchain import versions
from tunekit.models.preprocessing import without_preprocessing

if TYPE_CHECKING:
    from tunekit.models.source import SourceModel
    from tunekit.models.spec import DeclaredInput
    from tunekit.recipe.detector import DetectorSpec
    from tunekit.recipe.inputs import InputSpec
    from tunekit.recipe.schema import ModelSpec

_KINDS = {
    "torchvision": "tunekit.models.sources.torchvision",
    "python": "tunekit.models.sources.python_callable",
    ".pt2": "tunekit.models.sources.exported_program",
    ".onnx": "tunekit.models.sources.onnx_file",
}
_FRAMEWORKS = ("torch", "torchvision", "onnx", "onnxscript", "apache-tvm", "numpy")


class SourceKind(Protocol):
    """What each module of a source has."""

    def fingerprint(self, spec: ModelSpec) -> Mapping[str, KeyPart]:
        """What determines the model beyond its spec: the contents of files."""

    def load(
        self, spec: ModelSpec, digest: str, cache: ContentCache | None, state: Path | None
    ) -> SourceModel:
        """The model of a spec."""


class FileKind(SourceKind, Protocol):
    """What each module of a kind of model files has."""

    def declared_inputs(self, path: Path) -> Sequence[DeclaredInput]:
        """The inputs that a file says it has."""


def load_source(
    spec: ModelSpec, cache: ContentCache | None = None, *, state: Path | None = None
) -> SourceModel:
    """The model that a recipe names.

    Args:
        spec: a recipe's model.
        cache: keeps calibrated random weights.
        state: a file of them (see `export.torch_state`) for a process that shall not calibrate
            again.

    Raises:
        UsageError: it has several sizes, and none is chosen.
        ModelFileError: the model or its weights are missing, damaged or do not fit.
    """
    from tunekit.models.sources.preprocessed import preprocessed

    own = without_preprocessing(spec)
    source = preprocessed(_kind(own).load(own, source_digest(spec), cache, state), spec)
    source.is_single = spec.precision == "float32"
    return source


def joint_digest(digests: Sequence[str]) -> str:
    """Identifies a model by its digests at all its sizes."""
    return digests[0] if len(digests) == 1 else content_key(*digests)


def is_digest_of(digest: str, spec: ModelSpec, cache: ContentCache | None = None) -> bool:
    """Whether a digest, which identified a model at all its sizes, is of what a spec names now.

    Raises:
        ModelFileError: a file is missing.
    """
    at_sizes = [spec.at(size) for size in spec.each_size] or [spec]
    if digest == joint_digest([source_digest(one_size) for one_size in at_sizes]):
        return True
    # The file that a callable names is a part of its model.
    return digest == joint_digest([load_source(one_size, cache).digest for one_size in at_sizes])


def source_digest(spec: ModelSpec) -> str:
    """Identifies a spec's model without building it: spec, contents of files, versions.

    Raises:
        UsageError: it has several sizes, and none is chosen.
        ModelFileError: a file is missing.
    """
    require_one_size(spec)
    weights = None
    if spec.weights is not None:
        if not spec.weights.is_file():
            raise ModelFileError(f"there is no weights file {spec.weights}")
        weights = file_digest(spec.weights)
    if spec.is_file and not Path(spec.source).is_file():
        raise ModelFileError(f"there is no model file {spec.source}")
    installed = versions()
    return content_key(
        {
            # A file is what it holds, wherever it lies.
            "source": Path(spec.source).suffix if spec.is_file else spec.source,
            "arguments": cast("Mapping[str, KeyPart]", spec.arguments),
            "weights": weights,
            "seed": spec.seed,
            **({"precision": spec.precision} if spec.precision != "model" else {}),
            **({"detector": _identity_of_detector(spec.detector)} if spec.detector else {}),
            "inputs": [_identity(item, spec) for item in spec.inputs],
            **({"weights of": spec.smallest.size} if spec.size else {}),
            "versions": {name: installed.get(name) for name in _FRAMEWORKS},
            "content": _kind(spec).fingerprint(spec),
        }
    )


def require_one_size(spec: ModelSpec) -> None:
    """Refuses a model of several sizes where one is meant.

    Raises:
        UsageError: it has several, and none is chosen.
    """
    if spec.each_size:
        raise UsageError(
            f"{spec.source} has several sizes here, and this is done for one",
            hint="choose one of each axis: "
            + " ".join(f"--dim {name}={axis.sizes[0]}" for name, axis in spec.axes.items()),
        )


def _identity(item: InputSpec, spec: ModelSpec) -> list[KeyPart]:
    """What an input says: of its values only where the recipe does."""
    said: list[KeyPart] = [item.name, list(spec.shape_of(item)), item.dtype]
    if item.values is not None:
        said.append({"min": item.values.min, "max": item.values.max})
    if item.has_preprocessing:
        normalize = None if item.normalize is None else item.normalize.model_dump(mode="json")
        said.append({"layout": item.layout, "normalize": normalize})
    if item.is_bound:
        in_file = isinstance(item.value, str)
        said.append({"value": _digest_of(Path(item.value)) if in_file else item.value})
    return said


def _identity_of_detector(detector: DetectorSpec) -> dict[str, KeyPart]:
    """What is said of a detector, its sample pictures by their content."""
    said = detector.model_dump(mode="json")
    return {**said, "samples": [_digest_of(file) for file in detector.samples]}


def _digest_of(file: Path) -> str:
    if not file.is_file():
        raise ModelFileError(f"there is no file {file}, which the recipe names")
    return file_digest(file)


def load_file(path: Path, spec: ModelSpec, digest: str) -> SourceModel:
    """The model in an .onnx or .pt2 file, with the inputs and the seed of `spec`.

    Its digest is of the file's contents and of `digest`, which is of all else.
    """
    if path.suffix not in _KINDS:
        raise ModelFileError(
            f"{path} is not a model file that tunekit reads", hint="give an .onnx or a .pt2 file"
        )
    of_file = spec.model_copy(update={"source": str(path), "arguments": {}, "weights": None})
    kind = _kind(of_file)
    return kind.load(of_file, content_key(digest, kind.fingerprint(of_file)), None, None)


def file_kind(suffix: str) -> FileKind:
    """The kind of model files whose names end so, as ".onnx"."""
    return cast("FileKind", importlib.import_module(_KINDS[suffix]))


def _kind(spec: ModelSpec) -> SourceKind:
    name = Path(spec.source).suffix if spec.is_file else spec.source.partition(":")[0]
    return cast("SourceKind", importlib.import_module(_KINDS[name]))
