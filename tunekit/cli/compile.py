"""`tunekit compile`: the model with the best records there are, without tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunekit.cli.style import (
    Artifacts,
    Catalogue,
    Compiler,
    Layout,
    Quiet,
    RecipeFile,
    RpcKey,
    RpcTracker,
    Selection,
    Target,
    Verbose,
    progress,
    with_devices,
)


def compile(  # noqa: A001 - the verb's name
    recipe: RecipeFile,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The library's folder. Default: the recipe's name under its output.",
        ),
    ] = None,
    target: Target = None,
    layout: Layout = None,
    rpc_tracker: RpcTracker = None,
    rpc_key: RpcKey = None,
    cc: Compiler = None,
    catalogue: Catalogue = None,
    artifacts: Artifacts = None,
    contest: Selection = True,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compile a recipe's model with the best records of its catalogue, and verify it.

    Writes model.so, manifest.json and the resolved recipe; the folder is printed on standard
    output.
    """
    from tunekit.recipe import load_recipe, override

    wanted = override(
        with_devices(load_recipe(recipe), rpc_tracker, rpc_key, cc),
        target=target,
        layout=layout,
        catalogue=catalogue,
        artifacts=artifacts,
    )
    from tunekit.library import compile_recipe

    library = compile_recipe(wanted, output=output, contest=contest, say=progress(quiet=quiet))
    typer.echo(str(library.path.parent))
