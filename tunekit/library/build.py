"""From a Relax module to a shared library."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.cache import content_key
from tunekit.errors import CompileError
from tunekit.extern_kernels.objects import compile_kernels
from tunekit.graph.lowering.build import build_kernels, lower_model
from tunekit.graph.prepare import PREPARATION_VERSION
from tunekit.ir.compilation import called_kernels, link_executable
from tunekit.library import huge_page_pass
from tunekit.machine.linker import linking
from tunekit.machine.target import ResolvedTarget, resolve_target
from tunekit.recipe import Recipe, Tuning, recipe_digest
from tunekit.standalone.workspace import Workspace, workspace_of
from tunekit.wording import last_lines

if TYPE_CHECKING:
    from tvm.ir import IRModule


@dataclass(frozen=True)
class Exported:
    """What a library was linked from.

    Attributes:
        lowered: the model as TVM's virtual machine runs it.
        kernels: the object with its kernels; None where it was not asked for.
        workspace: what these take while they run.
        unneeded: kernels that only advise the operating system.
    """

    lowered: IRModule
    kernels: Path | None
    workspace: Workspace
    unneeded: Sequence[str] = (huge_page_pass.ADVISE,)


def export(
    module: IRModule,
    target: ResolvedTarget,
    path: Path,
    *,
    compiler: str | None = None,
    in_huge_pages: bool = False,
    kernels: Path | None = None,
) -> Exported:
    """Builds a Relax module and links it into a shared library at `path`.

    Args:
        module: the module, scheduled or not.
        target: what for.
        path: gets the library.
        compiler: links it (see `linking`); this machine's own if left out.
        in_huge_pages: the library asks for huge pages, where its target can.
        kernels: gets the object with the kernels.

    Raises:
        CompileError: TVM or the system's linker failed.
    """
    asks = in_huge_pages and huge_page_pass.wants_huge_pages(target)
    try:
        passes = huge_page_pass.lowering(target) if asks else None
        lowered = lower_model(module, target.tvm, passes)
        with tempfile.TemporaryDirectory(prefix=".compiling-", dir=path.parent) as folder:
            built = build_kernels(lowered, target.tvm, Path(folder))
            in_c = compile_kernels(called_kernels(lowered), target, compiler, Path(folder))
            link_executable(lowered, built.root, target.tvm).export_library(
                str(path),
                fcompile=linking(compiler, keep=kernels),
                addons=[str(file) for file in (*built.objects, *in_c)],
            )
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise CompileError(
            f"the model could not be compiled: {last_lines(error)}",
            hint="`tunekit doctor` checks the compiler; --verbose shows TVM's whole message",
        ) from error
    code = [part.inspect_source("ll") for part in built.modules] if kernels is not None else []
    return Exported(lowered, kernels, workspace_of("\n".join(code)))


def work_digest(recipe: Recipe, target: ResolvedTarget) -> str:
    """Of model, targets and preparation, but not of the layout (the manifest names it, where a
    recipe may leave it open) nor of the budget."""
    work = recipe.model_copy(
        update={
            "target": target.spec,
            "more_targets": tuple(
                resolve_target(spec, measured_elsewhere=True).spec for spec in recipe.more_targets
            ),
            "tuning": Tuning(),
            "layout": "auto",
        }
    )
    return content_key(recipe_digest(work), PREPARATION_VERSION)
