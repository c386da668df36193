"""The library of its own that ships beside the one for TVM's virtual machine: of the same kernels,
and with the same outputs, bit by bit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.cache import file_digest
from tunekit.errors import CompileError, SandboxError
from tunekit.library.built_variant import BuiltVariant, export_variant
from tunekit.library.manifest import StandaloneEntry
from tunekit.library.other_targets import OtherTarget, other_targets
from tunekit.library.program import program_of, toolchain_of
from tunekit.library.variants import assemble
from tunekit.machine.cpu_features import features_of, instruction_sets
from tunekit.machine.target import why_not_here
from tunekit.processes.sandbox import run_library
from tunekit.standalone.build import Linked, Part, build
from tunekit.version import __version__

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tunekit.catalogue import Catalogue
    from tunekit.graph.pipeline import PreparedModel
    from tunekit.library.verify import ReferenceOutputs, Verified
    from tunekit.machine.target import ResolvedTarget

    Array = npt.NDArray[np.generic]

_TIMEOUT_S = 1800.0
# What C would not take as the beginning of a name is given this one.
_PREFIX = "model_"
# NAME.h would hide a header of C or POSIX, libNAME.so a library that programs link, NAME_open a
# function of the runtime's.
_TAKEN = re.compile(
    "assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|signal|"
    "std[a-z]+|string|tgmath|threads|time|uchar|wchar|wctype|"
    "error|features|glob|link|memory|poll|pthread|regex|sched|search|semaphore|strings|trace|unistd|"
    "c|dl|gcc|m|rt|util|tk|tunekit"
)

Say = Callable[[str], None]


def c_name(name: str) -> str:
    """A recipe's name as the names of C functions, a header and a library may begin."""
    identifier = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not identifier[0].isalpha() or _TAKEN.fullmatch(identifier):
        return _PREFIX + identifier
    return identifier


def write_standalone(
    prepared: PreparedModel,
    shipped: BuiltVariant,
    reference: ReferenceOutputs,
    folder: Path,
    workshop: Path,
    say: Say,
    *,
    catalogue: Catalogue,
) -> StandaloneEntry | str:
    """Writes the library of its own of the variant that ships into `folder`.

    Args:
        prepared: its model.
        shipped: the variant.
        reference: the model's own outputs.
        folder: gets the library.
        workshop: takes what is made on the way.
        say: told what is done, a line at a time.
        catalogue: has the records of the kernels for further targets.

    Returns:
        What the manifest says of it, or why there is none.
    """
    try:
        toolchain_of(prepared.recipe, prepared.target)
        others = other_targets(prepared, catalogue, reference, workshop, say)
        built = link_standalone(prepared, shipped, others, reference, folder, workshop)
    except (CompileError, SandboxError) as error:
        say(f"warning: no standalone library: {error.message}")
        return error.message
    target = prepared.target
    return StandaloneEntry(
        library=built.shared.name,
        name=c_name(prepared.recipe.name),
        sha256=file_digest(built.shared),
        size_bytes=built.shared.stat().st_size,
        weights_bytes=built.weights,
        features=tuple(instruction_sets(features_of(target.tvm), target.architecture)),
        other_targets=tuple(other.entry for other in others),
    )


def link_standalone(
    prepared: PreparedModel,
    shipped: BuiltVariant,
    others: Sequence[OtherTarget],
    reference: ReferenceOutputs,
    folder: Path,
    workshop: Path,
    *,
    static: bool = False,
) -> Linked:
    """Links the library of its own of a variant, and of further targets, into `folder`; what this
    machine can run of it gives the same outputs, bit by bit, as TVM's virtual machine.

    Args:
        prepared: the model.
        shipped: the variant.
        others: the model for further targets.
        reference: the model's own outputs.
        folder: gets the library.
        workshop: takes what is made on the way.
        static: make an archive, too.

    Raises:
        CompileError: it cannot be linked, or gives something else.
        SandboxError: it crashed or hung.
    """
    name, toolchain = c_name(prepared.recipe.name), toolchain_of(prepared.recipe, prepared.target)
    models = [(prepared, shipped), *((other.prepared, other.built) for other in others)]
    # Of those that its CPU can run, the library takes the first.
    models.sort(key=lambda model: _capability(model[0].target), reverse=True)
    parts = [part_of(model, built, reference, workshop) for model, built in models]
    linked = build(
        name, parts, folder, toolchain, manifest=library_summary(prepared), static=static
    )
    path: Path | None = linked.shared
    for number, ((model, built), part) in enumerate(zip(models, parts, strict=True)):
        if built.verified is None or why_not_here(model.target) is not None:
            continue
        if path is None:
            # Behind the one that is taken here, so it is compared by itself.
            alone = workshop / f"alone{number}"
            alone.mkdir()
            path = build(name, [part], alone, toolchain).shared
        require_equal(path, name, model, reference, built.verified)
        path = None
    return linked


def _capability(target: ResolvedTarget) -> tuple[int, int]:
    features = instruction_sets(features_of(target.tvm), target.architecture)
    return target.vector_bits, len(features)


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
            "more_targets": list(prepared.recipe.more_targets),
            "layout": prepared.graph.layout,
            "model_digest": prepared.source.digest,
        }
    )
