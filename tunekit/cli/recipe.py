"""`tunekit recipe`: recipes begun, found, copied and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tunekit.cli.complete import complete_ready, complete_recipes
from tunekit.cli.options import DIMS, INPUTS
from tunekit.cli.style import Quiet, Verbose, new_typer
from tunekit.errors import RecipeError, UsageError

app = new_typer(no_args_is_help=True, help="Begin, find, copy and check recipes.")

_STANDARD_OUTPUT = Path("-")

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The recipe's file, or - for standard output. Default: NAME.yaml here.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


@app.command()
def new(
    model: Annotated[
        str,
        typer.Argument(
            help="An .onnx or .pt2 file, torchvision:<model>, or "
            "python:<package.module>:<callable>.",
            autocompletion=complete_recipes,
            show_default=False,
        ),
    ],
    output: Output = None,
    input_: INPUTS = None,
    dim: DIMS = None,
    force: Force = False,
    verbose: Verbose = False,
) -> None:
    """Write a recipe for a model, with comments.

    Inputs are what the model's file declares. The recipe, and what is made of it, is called as its
    file. The recipe's path is printed on standard output.
    """
    from tunekit.models.as_recipe import (
        is_model,
        parse_dims,
        parse_inputs,
        recipe_of_model,
        remarks_on_inputs,
    )
    from tunekit.recipe.commented import commented_recipe
    from tunekit.recipe.values import SOURCE_FORMS

    if not is_model(model):
        raise UsageError(f"{model} is not a model", hint=f"a model is {SOURCE_FORMS}")
    recipe = recipe_of_model(
        model,
        inputs=parse_inputs(input_ or []),
        dims=parse_dims(dim or []),
        name=None if output in (None, _STANDARD_OUTPUT) else output.stem,
    )
    file = output or Path(f"{recipe.name}.yaml")
    folder = Path.cwd() if file == _STANDARD_OUTPUT else file.parent
    text = commented_recipe(recipe, folder, model, remarks_on_inputs(recipe))
    _write(text, file, force=force)


@app.command("list")
def list_(verbose: Verbose = False) -> None:
    """List the recipes that come with tunekit."""
    from tunekit.recipe.ready import about, ready_recipes

    ready = ready_recipes()
    width = max(map(len, ready))
    for name, file in ready.items():
        typer.echo(f"{name:<{width}}  {about(file).partition('. ')[0].rstrip('.')}")


@app.command()
def copy(
    name: Annotated[
        str,
        typer.Argument(
            help="As `tunekit recipe list` shows it.",
            autocompletion=complete_ready,
            show_default=False,
        ),
    ],
    output: Output = None,
    force: Force = False,
    verbose: Verbose = False,
) -> None:
    """Copy a recipe that comes with tunekit.

    The copy's path is printed on standard output.
    """
    from tunekit.recipe.ready import ready_text

    _write(ready_text(name), output or Path(f"{name}.yaml"), force=force)


@app.command()
def check(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Recipes to check.", autocompletion=complete_recipes),
    ],
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check that recipes can be used; list every problem with its line.

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
def keys(verbose: Verbose = False) -> None:
    """List all keys of a recipe, and what they mean.

    Each can be given with `--set key=value`.
    """
    import shutil
    import textwrap

    from tunekit.recipe import description, recipe_fields

    width = min(shutil.get_terminal_size().columns, 100)
    for key in recipe_fields():
        typer.echo(key)
        typer.echo(
            textwrap.fill(description(key), width, initial_indent="    ", subsequent_indent="    ")
        )


@app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from tunekit.recipe import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def _write(text: str, file: Path, *, force: bool) -> None:
    if file == _STANDARD_OUTPUT:
        typer.echo(text, nl=False)
        return
    from tunekit.files import check_writable, write_atomically

    if file.exists() and not force:
        raise UsageError(f"{file} is there already", hint="another with -o, or --force")
    check_writable(file)
    write_atomically(file, text)
    typer.echo(str(file))
