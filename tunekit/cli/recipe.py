"""`tunekit recipe check FILE...` and `tunekit recipe schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tunekit.cli.style import Verbose, new_typer
from tunekit.errors import RecipeError

app = new_typer(no_args_is_help=True, help="Check recipes, and help editors to write them.")


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Recipes to check.")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing when all is well.")] = (
        False
    ),
    verbose: Verbose = False,
) -> None:
    """Check that recipes can be used, and list every problem with its line.

    Reads the recipe only: the model is neither loaded nor downloaded.
    """
    from tunekit.recipe import load_recipe

    failures: list[RecipeError] = []
    for file in files:
        try:
            recipe = load_recipe(file)
        except RecipeError as error:
            failures.append(error)
        else:
            if not quiet:
                typer.echo(f"{file}: ok ({recipe.name}: {recipe.model.source})")
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise RecipeError(
            f"{len(failures)} of {len(files)} recipes cannot be used\n"
            + "\n".join(error.message for error in failures),
            file=failures[0].file,
            line=failures[0].line,
            key=failures[0].key,
        )


@app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors that complete and check YAML."""
    from tunekit.recipe import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
