"""`tunekit lookup RECIPE`: what is known of a model before anything is spent on it."""

from __future__ import annotations

import typer

from tunekit.cli.style import (
    Catalogue,
    Form,
    Format,
    Layout,
    Quiet,
    RecipeFile,
    Target,
    Verbose,
    progress,
)


def lookup(
    recipe: RecipeFile,
    form: Form = Format.table,
    target: Target = None,
    layout: Layout = None,
    catalogue: Catalogue = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say how much of a recipe's model is known to its catalogue, task by task, without tuning.

    A task is known when a session of any model has measured its workload on this machine, for this
    target and with a compatible TVM. Shares are of the latency of a library compiled now: a new
    task would run as naive loops.
    """
    from tunekit.recipe import load_recipe, override

    wanted = override(load_recipe(recipe), target=target, layout=layout, catalogue=catalogue)
    from tunekit.report import fitting_table
    from tunekit.report.listing import as_csv, as_json
    from tunekit.report.lookup import TASK_FIELDS, known_rows, known_table, known_value
    from tunekit.report.numbers import milliseconds
    from tunekit.sessions.run import look_up_recipe

    known = look_up_recipe(wanted, progress(quiet=quiet))
    if form is Format.json:
        typer.echo(as_json(known_value(known)), nl=False)
    elif form is Format.csv:
        typer.echo(as_csv(TASK_FIELDS, known_rows(known)), nl=False)
    else:
        console = fitting_table.console()
        typer.echo(known.line())
        if known.latency_s is not None:
            typer.echo(f"the known ones take {milliseconds(1e3 * known.latency_s)} ms of a run")
        typer.echo()
        console.print(known_table(known, console.width), soft_wrap=True)
