"""`tunekit compile`: the model with the best records there are, without tuning."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def compile(  # noqa: A001 - the verb's name
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The library's folder. Default: the recipe's name under its output.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help='"native", a tag, JSON, or like "llvm -mcpu=znver3".')
    ] = None,
    layout: Annotated[str | None, typer.Option(help="NCHW, NHWC, NCHWc or auto.")] = None,
    catalogue: Annotated[
        str | None,
        typer.Option(
            envvar="TUNEKIT_CATALOGUE",
            help="Where the records are: a SQLite file or SQLAlchemy URL.",
        ),
    ] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Folder that gets the library's folder.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tracebacks of errors.")] = False,
) -> None:
    """Compile a recipe's model with the best records of its catalogue, and verify it.

    Writes model.so, manifest.json and the resolved recipe; the folder is printed on standard
    output.
    """
    from tunekit.recipe import load_recipe, override

    wanted = override(
        load_recipe(recipe),
        target=target,
        layout=layout,
        catalogue=catalogue,
        artifacts=artifacts,
    )
    from tunekit.library import compile_recipe

    library = compile_recipe(wanted, output=output, say=_silent if quiet else _progress)
    typer.echo(str(library.path.parent))


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(_: str) -> None:
    """Shows nothing."""
