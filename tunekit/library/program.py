"""What a standalone library is built from, and by whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import CompileError
from tunekit.machine.cpu_features import features_of, instruction_sets
from tunekit.machine.linker import linker
from tunekit.standalone.build import Part, Toolchain, build
from tunekit.standalone.emit import ExpectedValue, Program
from tunekit.standalone.plan import NotStandalone
from tunekit.standalone.planner import plan
from tunekit.standalone.self_test import Range, checks_of, range_of

if TYPE_CHECKING:
    from tunekit.graph.pipeline import PreparedModel
    from tunekit.library.build import Exported
    from tunekit.library.verify import ReferenceOutputs, Verified
    from tunekit.machine.target import ResolvedTarget
    from tunekit.models.source import SourceModel
    from tunekit.recipe import Recipe

STANDALONE_VARIANT = "variant"
"""With which the functions begin of libraries that are there to be compared."""
STANDALONE_VARIANT_FILE = f"lib{STANDALONE_VARIANT}.so"
# Of an output's largest value: other versions of the C library have other exponentials.
_SELF_TEST_ERROR = 1e-5


def build_standalone_variant(
    prepared: PreparedModel, exported: Exported, folder: Path
) -> Path | None:
    """A standalone library without a self test, to be compared with others; in `folder`.

    Returns None where the model cannot be one: why is said of the library that ships.
    """
    assert exported.kernels is not None
    try:
        part = Part(program_of(prepared, exported), exported.kernels)
        return build(
            STANDALONE_VARIANT, [part], folder, toolchain_of(prepared.recipe, prepared.target)
        ).shared
    except CompileError:
        return None


def program_of(
    prepared: PreparedModel,
    exported: Exported,
    reference: ReferenceOutputs | None = None,
    verified: Verified | None = None,
) -> Program:
    """The tables of a standalone library.

    Args:
        prepared: its model.
        exported: what its kernels are.
        reference: the model's own outputs, for the self test; none if left out.
        verified: what a library of the same kernels gave, for a stricter one.

    Raises:
        NotStandalone: the model needs TVM's virtual machine.
    """
    source, target = prepared.source, prepared.target
    limit = prepared.recipe.reference.relative_error
    return Program(
        plan=plan(exported.lowered, exported.unneeded),
        features=instruction_sets(features_of(target.tvm), target.architecture),
        cores=target.cores,
        input_names=[spec.name for spec in source.inputs],
        output_names=[spec.name for spec in source.outputs],
        input_ranges=_ranges(prepared, reference),
        checks=expected_values(source, limit, reference, verified),
        huge_pages=prepared.recipe.huge_pages,
        workspace=exported.workspace,
        checked_by_framework=verified is None,
    )


def _ranges(prepared: PreparedModel, reference: ReferenceOutputs | None) -> list[Range]:
    sets = reference.inputs if reference is not None else ()
    return [range_of([values[spec.name] for values in sets]) for spec in prepared.source.inputs]


def expected_values(
    source: SourceModel,
    limit: float,
    reference: ReferenceOutputs | None,
    verified: Verified | None,
) -> list[ExpectedValue]:
    """What the self test of a program expects: what its kernels gave or, where nobody could run
    them, what the framework gave, within what a verification would have allowed.

    Args:
        source: the model.
        limit: of the relative error, the recipe's.
        reference: the model's own outputs; nothing is expected if left out.
        verified: what a library of the same kernels gave.
    """
    if verified is not None:
        return checks_of(verified.outputs[-1], _SELF_TEST_ERROR)
    # A detector that is right may give what it finds in another order.
    if reference is None or source.finds_objects:
        return []
    expected = reference.self_test_outputs
    allowed = max(limit, source.rounding_step(expected))
    return checks_of(expected, allowed, exact_integers=False)


def toolchain_of(recipe: Recipe, target: ResolvedTarget) -> Toolchain:
    """Who compiles and links for a model's target.

    Raises:
        NotStandalone: nothing here does.
    """
    if target.kind != "llvm":
        raise NotStandalone(f"a standalone library is for CPUs, and this one is for {target.kind}")
    compiler = linker(recipe.cc, target)
    if compiler is None:
        raise NotStandalone("there is no C compiler")
    return Toolchain(compiler)
