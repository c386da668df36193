"""`tunekit lookup RECIPE`: what is known of a model before anything is spent on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunekit.cli.options import BUILD, CATALOGUE, recipe_verb
from tunekit.cli.style import Form, Lines, Quiet, Verbose
from tunekit.report.output import Format

if TYPE_CHECKING:
    from tunekit.recipe import Recipe


@recipe_verb(BUILD, CATALOGUE)
def lookup(
    recipe: Recipe,
    form: Form = Format.table,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say how much of a model is known already, task by task.

    Nothing is measured. A task is known when a session of any model has measured its workload on
    this machine, for this target and with a compatible TVM. Shares are of the latency of a library
    compiled now: a new task is reckoned as naive loops.
    """
    from tunekit import api
    from tunekit.report.lookup import known_result
    from tunekit.report.output import write

    write(known_result(api.lookup(recipe, reporter=Lines(quiet=quiet))), form)
