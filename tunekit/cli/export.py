"""`tunekit export`: the bundle of a library, for C."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekit.cli.options import ARTIFACTS, BUILD, CATALOGUE, DEVICES, recipe_verb
from tunekit.cli.style import Lines, Quiet, Verbose

if TYPE_CHECKING:
    from tunekit.recipe import Recipe


@recipe_verb(BUILD, DEVICES, CATALOGUE, ARTIFACTS, takes_folders=True)
def export(
    recipe: Recipe,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The bundle's folder. Default: bundle, or vm-bundle, in the library's folder.",
            show_default=False,
        ),
    ] = None,
    static: Annotated[bool, typer.Option("--static", help="With a static library, too.")] = False,
    vm: Annotated[
        bool,
        typer.Option(
            "--vm",
            help="With TVM's runtime in place of the standalone library: any model, for C++.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a bundle whose files were changed.")
    ] = False,
    catalogue: str | None = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a library as a bundle for C and C++: headers, examples, build files, samples.

    Nothing of TVM or Python is needed where it is used. A recipe's library is compiled first where
    there is none that fits. The bundle's folder is printed on standard output.
    """
    from tunekit import api

    bundle = api.export(
        recipe,
        folder=output,
        static=static,
        vm=vm,
        force=force,
        catalogue=catalogue,
        reporter=Lines(quiet=quiet),
    )
    typer.echo(str(bundle.folder))


def require_bundle_folder(folder: Path | None) -> None:
    """Refuses a folder that `--export` names before hours are spent on what goes there."""
    if folder is not None:
        from tunekit.bundle.place import require_place

        require_place(folder)


def export_too(library: Path, folder: Path | None, lines: Lines) -> None:
    """Writes the bundle of the library in a folder where `--export` wants it, and prints where."""
    if folder is not None:
        from tunekit import api

        typer.echo(str(api.export(library, folder=folder, reporter=lines).folder))
