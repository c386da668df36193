"""From a source to a checked Relax module, paid for once."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.accuracy import Comparison, compare
from tunekit.cache import ContentCache, content_key
from tunekit.errors import ImportMismatch, ModelFileError, SandboxError
from tunekit.machine.toolchain import require_tvm
from tunekit.models.spec import TensorSpec, code_digest
from tunekit.processes.slow_step import told_if_slow
from tunekit.wording import Say

if TYPE_CHECKING:
    import tvm

    from tunekit.models.source import Array, SourceModel
    from tunekit.recipe.schema import ModelSpec


_KIND = "imported"
_METADATA = "imported.json"
_CHECKS = 2
_STEADY = 10
"""An import may be so many times further from its reference than that is from float64."""


@dataclass(frozen=True)
class ImportedModel:
    """A model in Relax that computes what its source does.

    Attributes:
        name: the source's.
        digest: the source's.
        framework: that computes the reference.
        module: has one function, `main`: a parameter for each input, weights as constants,
            outputs flat and in order.
        inputs: in the order of main's parameters.
        outputs: flat and in order.
        relative_errors: of the check, one for each seed.
        rounding_step: what these may be beyond the limit, where outputs are quantized; 0 elsewhere.
        import_s: seconds that the import took when it was made.
        check_s: seconds that its check took then.
        was_cached: whether this time it was read back.
    """

    name: str
    digest: str
    framework: str
    module: tvm.IRModule
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    relative_errors: tuple[float, ...]
    rounding_step: float
    import_s: float
    check_s: float
    was_cached: bool


def import_model(
    model: ModelSpec | SourceModel,
    *,
    max_relative_error: float,
    cache: ContentCache,
    say: Say = lambda line: None,
) -> ImportedModel:
    """Import a model and check it against its reference on two seeded inputs, or read it back.

    An import is kept in `cache` by what made it: the source's digest, the versions and
    tunekit's own importer. A model that is found there is neither traced nor converted.

    Raises:
        ModelFileError: the model cannot be read, or does not fit the recipe.
        ImportFailed: an operator cannot be imported.
        ImportMismatch: the import computes something else; NaN always is.
        SandboxError: the process of the check died.
    """
    require_tvm()
    from tunekit.models.registry import load_source
    from tunekit.models.source import SourceModel

    source = model if isinstance(model, SourceModel) else load_source(model, cache)
    key = content_key(_KIND, source.digest, code_digest())
    kept = cache.get(_KIND, key)
    if kept is not None:
        cached = _read(kept)
        _require_close(
            cached.name, cached.relative_errors, max(max_relative_error, cached.rounding_step)
        )
        say(f"{cached.name}: import found in the cache")
        return cached
    # Little is said before this works: where it does not, the error stands alone.
    start = time.perf_counter()
    with told_if_slow(say, f"{source.name}: importing: building, tracing and converting it"):
        module = source.to_relax()
    imported = time.perf_counter()
    detour = f" {source.detour}" if source.detour else ""
    say(f"{source.name}: imported{detour}; checking it against {source.framework}")
    errors, step = _check(source, module, max_relative_error, say)
    checked = time.perf_counter()
    result = ImportedModel(
        name=source.name,
        digest=source.digest,
        framework=source.framework,
        module=module,
        inputs=source.inputs,
        outputs=source.outputs,
        relative_errors=errors,
        rounding_step=step,
        import_s=imported - start,
        check_s=checked - imported,
        was_cached=False,
    )
    with cache.put(_KIND, key) as folder:
        _write(result, folder)
    # What later runs will read: equal modules can differ in the nodes they share, and with them
    # the text of their kernels.
    return replace(result, module=_read_back(result, cache.get(_KIND, key)))


def _read_back(imported: ImportedModel, folder: Path | None) -> tvm.IRModule:
    return imported.module if folder is None else _read(folder).module


def _check(
    source: SourceModel, module: tvm.IRModule, max_relative_error: float, say: Say
) -> tuple[tuple[float, ...], float]:
    """Relative errors of the compiled module on seeded inputs, and the step of their rounding.

    Raises:
        ImportMismatch: one is too large.
    """
    from tunekit.models.first_difference import first_difference, run_import

    inputs = [source.sample_inputs(source.seed + index) for index in range(_CHECKS)]
    references = [source.reference(values) for values in inputs]
    source.require_telling(references)
    try:
        outputs = run_import(source, module, inputs)
    except SandboxError as error:
        raise SandboxError(
            f"{source.name}: the import could not be checked: {error.message}", hint=error.hint
        ) from error
    errors, step = [], 0.0
    for values, reference, actual in zip(inputs, references, outputs, strict=True):
        comparison = source.compare(reference, actual)
        step = max(step, source.rounding_step(reference))
        if not comparison.within(max(max_relative_error, step)):
            _require_steady(source, values, reference, comparison, max_relative_error)
            say(f"{source.name}: it differs; looking for the first operator that does")
            place = first_difference(source, values, max_relative_error)
            reason = comparison.reason or _too_large(
                [comparison.relative_error], max_relative_error
            )
            raise _mismatch(source.name, reason + (f"; first differs: {place}" if place else ""))
        if not comparison.within(max_relative_error):
            say(
                f"{source.name}: outputs differ by a step of their rounding at most, "
                f"{comparison.relative_error:.1e}: sums halfway between two steps"
            )
        errors.append(comparison.relative_error)
        if comparison.detections is not None:
            say(f"{source.name}: {comparison.detections}")
        if comparison.not_numbers:
            say(
                f"{source.name}: {comparison.not_numbers} elements are NaN, in {source.framework} "
                "too, on the sample inputs; model.inputs[].values in the recipe gives others"
            )
    return tuple(errors), step


def _require_steady(
    source: SourceModel,
    inputs: Mapping[str, Array],
    reference: Sequence[Array],
    comparison: Comparison,
    limit: float,
) -> None:
    """Tell a model that magnifies rounding from an import that is wrong.

    Raises:
        ModelFileError: the model gives something else each time.
        ImportMismatch: its framework's own float32 differs as much from float64.
    """
    again = source.reference(inputs)
    if not source.compare(reference, again).within(limit):
        raise ModelFileError(
            f"{source.name}: {source.framework} itself gives something else each time, on the same "
            "inputs: the model draws random numbers or keeps a state",
            hint="make the random numbers an input of the model, or switch them off: dropout and "
            "the like in evaluation mode",
        )
    exact = source.exact_reference(inputs)
    own = math.inf if exact is None else compare(exact, reference).relative_error
    error = comparison.relative_error
    if math.isinf(own) or math.isinf(error) or not own > error / _STEADY:
        return
    raise ImportMismatch(
        f"{source.name}: the model is too sensitive to rounding to be checked: on the sample "
        f"inputs {source.framework} itself is off by {own:.1e} in float32 (against float64), and "
        f"the import differs by {error:.1e}, allowed {limit:.0e}",
        hint="this is no fault of the import: reference.import_relative_error and "
        "reference.relative_error allow more; model.inputs[].values may make it steadier",
    )


def _require_close(name: str, errors: Sequence[float], limit: float) -> None:
    # Not `error > limit`, which NaN would pass.
    if not all(error <= limit for error in errors):
        raise _mismatch(name, _too_large(errors, limit))


def _too_large(errors: Sequence[float], limit: float) -> str:
    return f"relative error {max(errors):.2e}, allowed {limit:.0e}"


def _mismatch(name: str, reason: str) -> ImportMismatch:
    return ImportMismatch(
        f"{name}: the imported model computes something else than its reference: {reason}",
        hint="this is a fault of the import: try the other way in (an .onnx file for a torch "
        "model, or the torch model itself); reference.import_relative_error sets the limit",
    )


def _write(imported: ImportedModel, folder: Path) -> None:
    from tunekit.ir.store import write_module

    write_module(imported.module, folder)
    metadata = {
        "name": imported.name,
        "digest": imported.digest,
        "framework": imported.framework,
        "inputs": [_as_json(spec) for spec in imported.inputs],
        "outputs": [_as_json(spec) for spec in imported.outputs],
        "relative_errors": list(imported.relative_errors),
        "rounding_step": imported.rounding_step,
        "import_s": imported.import_s,
        "check_s": imported.check_s,
    }
    (folder / _METADATA).write_text(json.dumps(metadata, indent=1), "utf-8")


def _read(folder: Path) -> ImportedModel:
    from tunekit.ir.store import read_module

    metadata: dict[str, Any] = json.loads((folder / _METADATA).read_text("utf-8"))
    return ImportedModel(
        name=metadata["name"],
        digest=metadata["digest"],
        framework=metadata["framework"],
        module=read_module(folder),
        inputs=tuple(_from_json(item) for item in metadata["inputs"]),
        outputs=tuple(_from_json(item) for item in metadata["outputs"]),
        relative_errors=tuple(metadata["relative_errors"]),
        rounding_step=metadata["rounding_step"],
        import_s=metadata["import_s"],
        check_s=metadata["check_s"],
        was_cached=True,
    )


def _as_json(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype}


def _from_json(item: dict[str, Any]) -> TensorSpec:
    return TensorSpec(item["name"], tuple(item["shape"]), item["dtype"])
