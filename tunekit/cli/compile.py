"""`tunekit compile`: the model with the best records there are, without tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tunekit.cli.export import export_too, require_bundle_folder
from tunekit.cli.options import ARTIFACTS, BUILD, CATALOGUE, DEVICES, recipe_verb
from tunekit.cli.style import BundleFolder, LibraryFolder, Lines, Quiet, Selection, Verbose

if TYPE_CHECKING:
    from tunekit.recipe import Recipe


@recipe_verb(BUILD, DEVICES, CATALOGUE, ARTIFACTS)
def compile(  # noqa: A001 - the verb's name
    recipe: Recipe,
    output: LibraryFolder = None,
    selection: Selection = True,
    bundle: BundleFolder = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compile a model with the best records there are, and verify it.

    Writes model.so, the standalone library, manifest.json and the resolved recipe; the folder is
    printed on standard output, and below it the bundle's.
    """
    from tunekit import api

    lines = Lines(quiet=quiet)
    require_bundle_folder(bundle)
    library = api.compile(recipe, folder=output, selection=selection, reporter=lines)
    typer.echo(str(library.folder))
    export_too(library.folder, bundle, lines)
