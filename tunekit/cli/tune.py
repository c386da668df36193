"""`tunekit tune`: search, measure, compile, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tunekit.cli.export import export_too, require_bundle_folder
from tunekit.cli.options import ARTIFACTS, BUDGET, BUILD, CATALOGUE, DEVICES, SEARCH, recipe_verb
from tunekit.cli.style import (
    BundleFolder,
    LibraryFolder,
    Lines,
    Quiet,
    Selection,
    Verbose,
    resume_command,
)

if TYPE_CHECKING:
    from tunekit.recipe import Recipe


@recipe_verb(BUDGET, BUILD, DEVICES, CATALOGUE, ARTIFACTS, SEARCH)
def tune(
    recipe: Recipe,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin a session even where one is unfinished.")
    ] = False,
    output: LibraryFolder = None,
    selection: Selection = True,
    bundle: BundleFolder = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Tune a model within a budget of trials, compile and verify it.

    Every trial is kept in the catalogue as it is measured. An unfinished session of the recipe is
    gone on with, whatever its budget was. The library's folder is printed on standard output, and
    below it the bundle's.
    """
    from tunekit import api
    from tunekit.report.tuning import TuningDisplay

    require_bundle_folder(bundle)
    with TuningDisplay(quiet=quiet) as display:
        library = api.tune(
            recipe,
            fresh=fresh,
            folder=output,
            selection=selection,
            reporter=display,
            again=resume_command(recipe.catalogue, bundle),
        )
    typer.echo(str(library.folder))
    export_too(library.folder, bundle, Lines(quiet=quiet))
