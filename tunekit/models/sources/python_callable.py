"""`python:<package.module>:<callable>`: whatever a function of the user's own returns."""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import os
import random
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.cache import ContentCache, KeyPart, content_key, file_digest
from tunekit.errors import ModelFileError, TunekitError
from tunekit.models.binding import bound_values, given_inputs
from tunekit.processes.quiet import quiet
from tunekit.wording import did_you_mean, first_line

if TYPE_CHECKING:
    import torch

    from tunekit.models.source import SourceModel
    from tunekit.models.spec import TensorSpec
    from tunekit.recipe.schema import ModelSpec

_INSTALLED = ("site-packages", "dist-packages")


def fingerprint(spec: ModelSpec) -> Mapping[str, KeyPart]:
    """The code that the callable is made of, and the files that its arguments name.

    The code is every Python file of the top-level package, or beside a single module; of an
    installed package only the module's own.
    """
    files = {
        str(value): file_digest(Path(value))
        for value in spec.arguments.values()
        # pathlib's raises for a text that is too long for a name.
        if isinstance(value, str) and os.path.isfile(value)  # noqa: PTH113
    }
    return {"code": {path.name: file_digest(path) for path in _code(spec)}, "files": files}


def load(
    spec: ModelSpec, digest: str, cache: ContentCache | None, state: Path | None
) -> SourceModel:
    """Calls the callable with the recipe's arguments.

    It may return a torch module, an `onnx.ModelProto`, or the path of an .onnx or .pt2 file. What
    that holds is a part of the model's digest: the callable may read it from anywhere.

    Raises:
        ModelFileError: it is not found, raises, or returns something else.
    """
    module_name, callable_name = _parts(spec)
    result = _call(spec, module_name, callable_name)
    inputs = given_inputs(spec)
    if isinstance(result, str | os.PathLike):
        return _from_file(spec, Path(result), digest)
    # What is not loaded cannot be what was returned.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(result, torch.nn.Module):
        from tunekit.models.sources.contents import module_digest
        from tunekit.models.sources.torch_model import TorchModel, Weights

        if spec.weights is None:
            digest = content_key(digest, module_digest(result))
        kind = TorchModel
        if _finds_objects(result, callable_name, inputs, spec):
            from tunekit.models.sources.detector_model import DetectorModel

            kind = DetectorModel
        return kind(
            callable_name,
            digest,
            spec.seed,
            inputs,
            lambda: _own_copy(result, spec, state),
            Weights(spec.weights, state, cache=cache, made_at=spec.smallest if spec.size else None),
            bound_values(spec),
            spec.detector,
        )
    onnx = sys.modules.get("onnx")
    if onnx is not None and isinstance(result, onnx.ModelProto):
        from tunekit.models.sources.contents import proto_digest
        from tunekit.models.sources.onnx_file import OnnxModel

        if spec.weights is not None:
            raise ModelFileError(
                f"{spec.source} returns an ONNX model, which holds its own weights"
            )
        digest = content_key(digest, proto_digest(result))
        return OnnxModel(callable_name, digest, spec.seed, inputs, result, bound_values(spec))
    raise ModelFileError(
        f"{spec.source} returned {type(result).__name__}, which is no model",
        hint="return a torch.nn.Module, an onnx.ModelProto or the path of an .onnx or .pt2 file",
    )


def _own_copy(module: torch.nn.Module, spec: ModelSpec, state: Path | None) -> torch.nn.Module:
    """The module, or a copy where its weights are replaced: the callable may return the same object
    again, which then is to be what it was."""
    from tunekit.models.weights import is_untrained

    if spec.weights is None and state is None and not is_untrained(module):
        return module
    try:
        return copy.deepcopy(module)
    except Exception:  # noqa: BLE001 - not every module can be copied
        return module


def _finds_objects(
    module: torch.nn.Module, name: str, inputs: Sequence[TensorSpec], spec: ModelSpec
) -> bool:
    """Whether a module is a detector, or calls one.

    Raises:
        ModelFileError: it is one that cannot be compiled.
    """
    from tunekit.detectors.recognition import detector_in

    shapes = [(item.shape, item.dtype) for item in inputs]
    return detector_in(module, name, shapes, spec.detector) is not None


def _from_file(spec: ModelSpec, path: Path, digest: str) -> SourceModel:
    from tunekit.models.registry import load_file

    if not path.is_file():
        raise ModelFileError(f"{spec.source} returned the path {path}, which does not exist")
    if spec.weights is not None:
        raise ModelFileError(f"{spec.source} returns a model file, which holds its own weights")
    return load_file(path.absolute(), spec, digest)


def _parts(spec: ModelSpec) -> tuple[str, str]:
    _, module_name, callable_name = spec.source.split(":")
    return module_name, callable_name


@contextlib.contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """Modules are found in the recipe's folder, then in the working directory, then as usual.

    The console script's sys.path does not have the working directory; `python -m` does.
    """
    before = list(sys.path)
    here = str(Path.cwd())
    if here not in before and "" not in before:
        sys.path.insert(0, here)
    if folder is not None:
        sys.path.insert(0, str(folder))
        _forget_namesakes(folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _forget_namesakes(folder: Path) -> None:
    """Lets go of modules that other recipes of this process have beside them, where this one has
    its own of the same name."""
    _folders.add(folder)
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        file = getattr(module, "__file__", None)
        if not file or top == "tunekit":
            continue
        beside = [other for other in _folders if file.startswith(str(other / top))]
        mine = (folder / top).is_dir() or (folder / f"{top}.py").is_file()
        if beside and mine and folder not in beside:
            del sys.modules[name]


_folders: set[Path] = set()
"""Where this process has looked for modules of recipes."""


def _call(spec: ModelSpec, module_name: str, callable_name: str) -> Any:
    with _importable(spec.folder):
        try:
            # A module may make its model as it is imported.
            with _seeded(spec.seed), quiet():
                module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:
            missing = isinstance(error, ModuleNotFoundError) and module_name.startswith(
                str(error.name)
            )
            raise ModelFileError(
                f"cannot import {module_name}: {type(error).__name__}: {first_line(error)}"
                + ("" if missing else _place(error)),
                hint="put it beside the recipe, run tunekit from the folder that holds it, or set "
                "PYTHONPATH"
                if missing
                else None,
            ) from error
        target: Any = module
        for part in callable_name.split("."):
            if not hasattr(target, part):
                raise ModelFileError(
                    f"{module_name} has no {callable_name!r}"
                    f"{did_you_mean(part, [name for name in dir(target) if name[0] != '_'])}"
                )
            target = getattr(target, part)
        if not callable(target):
            raise ModelFileError(f"{spec.source} is not a callable, but {type(target).__name__}")
        try:
            with _seeded(spec.seed), quiet():
                return target(**spec.arguments)
        except TunekitError:
            raise
        except (Exception, SystemExit) as error:
            raise ModelFileError(
                f"{spec.source} raised {type(error).__name__}: {first_line(error)}{_place(error)}",
                hint="check the recipe's model.arguments",
            ) from error


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The generators that a model may draw its weights with start from the seed, and go on in the
    end from where they were."""
    import numpy as np
    import torch

    standard, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(standard)
            np.random.set_state(numpy_state)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if frame.filename != __file__ and not frame.filename.startswith("<")
    ]
    return f"; at {own[-1].filename}:{own[-1].lineno}" if own else ""


def _code(spec: ModelSpec) -> list[Path]:
    """The files whose change may change the model; none where the module is not found."""
    module_name, _ = _parts(spec)
    with _importable(spec.folder):
        try:
            # Of a package within another it imports the outer one.
            with _seeded(spec.seed), quiet():
                top = importlib.util.find_spec(module_name.partition(".")[0])
                own = importlib.util.find_spec(module_name)
        except (Exception, SystemExit):  # noqa: BLE001 - whatever a module does; told when it loads
            return []
    if top is None or own is None or own.origin is None or not Path(own.origin).is_file():
        return []
    origin = Path(own.origin)
    if any(part in _INSTALLED for part in origin.parts):
        return [origin]
    if top.submodule_search_locations:
        return sorted(
            path
            for location in top.submodule_search_locations
            for path in Path(location).rglob("*.py")
        )
    return sorted(origin.parent.glob("*.py"))
