"""The library of its own that ships beside the one for TVM's virtual machine: of the same kernels,
and with the same outputs, bit by bit."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.cache import file_digest
from tunekit.errors import CompileError, SandboxError
from tunekit.library.built_variant import BuiltVariant, export_variant
from tunekit.library.manifest import StandaloneEntry
from tunekit.library.program import program_of, toolchain_of
from tunekit.library.variants import assemble
from tunekit.machine.target import why_not_here
from tunekit.processes.sandbox import run_library
from tunekit.standalone.build import Part, build
from tunekit.version import __version__

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tunekit.graph.pipeline import PreparedModel
    from tunekit.library.verify import ReferenceOutputs, Verified

    Array = npt.NDArray[np.generic]

_TIMEOUT_S = 1800.0
# What C and C++ would not take as the beginning of a name is given this one.
_PREFIX = "model_"

Say = Callable[[str], None]


def c_name(name: str) -> str:
    """A recipe's name as the names of C functions may begin."""
    identifier = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not identifier or not identifier[0].isalpha() or keyword.iskeyword(identifier):
        return _PREFIX + identifier
    return identifier


def write_standalone(
    prepared: PreparedModel,
    shipped: BuiltVariant,
    reference: ReferenceOutputs,
    folder: Path,
    workshop: Path,
    say: Say,
) -> StandaloneEntry | str:
    """Writes the library of its own of the variant that ships into `folder`.

    Args:
        prepared: its model.
        shipped: the variant.
        reference: the model's own outputs.
        folder: gets the library.
        workshop: takes what is made on the way.
        say: told what is done, a line at a time.

    Returns:
        What the manifest says of it, or why there is none.
    """
    name = c_name(prepared.recipe.name)
    try:
        toolchain = toolchain_of(prepared.recipe, prepared.target)
        part = part_of(prepared, shipped, reference, workshop)
        built = build(name, [part], folder, toolchain, manifest=library_summary(prepared))
        if shipped.verified is not None and why_not_here(prepared.target) is None:
            require_equal(built.shared, name, prepared, reference, shipped.verified)
    except (CompileError, SandboxError) as error:
        say(f"warning: no standalone library: {error.message}")
        return error.message
    return StandaloneEntry(
        library=built.shared.name,
        name=name,
        sha256=file_digest(built.shared),
        size_bytes=built.shared.stat().st_size,
        weights_bytes=built.weights,
        features=tuple(part.program.features),
    )


def part_of(
    prepared: PreparedModel, shipped: BuiltVariant, reference: ReferenceOutputs, workshop: Path
) -> Part:
    """What a variant's library of its own is built from.

    Raises:
        NotStandalone: the model needs TVM's virtual machine.
        CompileError: it cannot be compiled.
    """
    exported = shipped.exported
    if exported is None:
        # From the cache, where only the library is.
        assembled = assemble(shipped.variant, prepared)
        exported = export_variant(assembled, prepared, workshop / "again.so")
    assert exported.kernels is not None
    return Part(program_of(prepared, exported, reference, shipped.verified), exported.kernels)


def require_equal(
    path: Path,
    name: str,
    prepared: PreparedModel,
    reference: ReferenceOutputs,
    verified: Verified,
) -> None:
    """Refuses a library whose outputs are not the same, bit by bit, as the other one's.

    Raises:
        CompileError: they are not.
        SandboxError: it crashed or hung.
    """
    inputs = [*reference.inputs, reference.self_test]
    actual = run_library(
        path,
        inputs,
        input_names=[spec.name for spec in prepared.source.inputs],
        threads=prepared.target.cores,
        timeout_s=_TIMEOUT_S,
        standalone=name,
    )
    for number, (expected, outputs) in enumerate(zip(verified.outputs, actual, strict=True)):
        if not all(_same_bits(*pair) for pair in zip(expected, outputs, strict=True)):
            raise CompileError(
                f"its outputs are not those of model.so, on input set {number + 1}",
                hint="this is a defect of tunekit: please report it",
            )


def _same_bits(first: Array, second: Array) -> bool:
    return first.shape == second.shape and first.tobytes() == second.tobytes()


def library_summary(prepared: PreparedModel) -> str:
    """What a library tells of itself, as JSON."""
    return json.dumps(
        {
            "name": prepared.recipe.name,
            "tunekit": __version__,
            "target": json.loads(prepared.target.spec),
            "layout": prepared.graph.layout,
            "model_digest": prepared.source.digest,
        }
    )
