"""`tunekit compile`: the model with the best records there are, without tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tunekit.cli.options import ARTIFACTS, BUILD, CATALOGUE, DEVICES, recipe_verb
from tunekit.cli.style import LibraryFolder, Lines, Quiet, Selection, Verbose

if TYPE_CHECKING:
    from tunekit.recipe import Recipe


@recipe_verb(BUILD, DEVICES, CATALOGUE, ARTIFACTS)
def compile(  # noqa: A001 - the verb's name
    recipe: Recipe,
    output: LibraryFolder = None,
    selection: Selection = True,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compile a model with the best records there are, and verify it.

    Writes model.so, manifest.json and the resolved recipe; the folder is printed on standard
    output.
    """
    from tunekit import api

    library = api.compile(recipe, folder=output, selection=selection, reporter=Lines(quiet=quiet))
    typer.echo(str(library.folder))
