"""From a Relax module to a shared library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.cache import content_key
from tunekit.errors import CompileError
from tunekit.graph.lowering.build import compile_model
from tunekit.graph.prepare import PREPARATION_VERSION
from tunekit.library import huge_page_pass
from tunekit.machine.linker import linking
from tunekit.machine.target import ResolvedTarget
from tunekit.recipe import Recipe, Tuning, recipe_digest
from tunekit.wording import last_lines

if TYPE_CHECKING:
    from tvm.ir import IRModule


def export(
    module: IRModule,
    target: ResolvedTarget,
    path: Path,
    *,
    compiler: str | None = None,
    in_huge_pages: bool = False,
) -> None:
    """Builds a Relax module and links it into a shared library at `path`.

    Args:
        module: the module, scheduled or not.
        target: what for.
        path: gets the library.
        compiler: links it (see `linking`); this machine's own if left out.
        in_huge_pages: the library asks for huge pages, where its target can.

    Raises:
        CompileError: TVM or the system's linker failed.
    """
    asks = in_huge_pages and huge_page_pass.wants_huge_pages(target)
    try:
        relax_pipeline = huge_page_pass.lowering(target) if asks else "default"
        executable = compile_model(module, target.tvm, relax_pipeline)
        executable.export_library(str(path), fcompile=linking(compiler) if compiler else None)
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise CompileError(
            f"the model could not be compiled: {last_lines(error)}",
            hint="`tunekit doctor` checks the compiler; --verbose shows TVM's whole message",
        ) from error


def work_digest(recipe: Recipe, target: ResolvedTarget) -> str:
    """Of model, target and preparation, but not of the layout (the manifest names it, where a
    recipe may leave it open) nor of the budget."""
    work = recipe.model_copy(update={"target": target.spec, "tuning": Tuning(), "layout": "auto"})
    return content_key(recipe_digest(work), PREPARATION_VERSION)
