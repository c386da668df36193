"""`tunekit lookup RECIPE`: what is known of a model before anything is spent on it."""

from __future__ import annotations

from tunekit.cli.style import (
    Catalogue,
    Form,
    Layout,
    Quiet,
    RecipeFile,
    Target,
    Verbose,
    progress,
)
from tunekit.report.output import Format


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
    from tunekit.report.lookup import known_result
    from tunekit.report.output import write
    from tunekit.sessions.run import look_up_recipe

    write(known_result(look_up_recipe(wanted, progress(quiet=quiet))), form)
