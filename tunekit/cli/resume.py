"""`tunekit resume`: go on with a session, from wherever one is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tunekit.cli.style import Catalogue, Quiet, Verbose, resume_command


def resume(
    session: Annotated[
        str | None,
        typer.Argument(
            help="The session's id, or its beginning. Default: the newest unfinished session of "
            "this machine.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Another budget: candidates to measure in all.")
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(help="Search no longer than this, earlier runs of the session included."),
    ] = None,
    catalogue: Catalogue = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Go on with an unfinished session until its budget is spent, then compile and verify.

    The recipe is the one that the session was begun with, and so is the folder from which its
    model is found. The library's folder is printed on standard output.
    """
    from tunekit.catalogue import Catalogue as Ledger
    from tunekit.catalogue.db.connect import from_anywhere
    from tunekit.environment import DEFAULT_CATALOGUE
    from tunekit.machine.host import detect_host
    from tunekit.recipe import override
    from tunekit.sessions.resume import folder_of, recipe_of, session_to_resume

    place = catalogue or DEFAULT_CATALOGUE
    with Ledger.open(place, create=False) as ledger:
        more = trials is not None or max_seconds is not None
        found = session_to_resume(ledger, session, detect_host(), more=more)
    # The catalogue stays the one that was named from here.
    wanted = override(
        recipe_of(found),
        trials=trials,
        max_seconds=max_seconds,
        catalogue=from_anywhere(place),
    )
    from tunekit.report.tuning import TuningDisplay
    from tunekit.sessions.run import resume_recipe

    with TuningDisplay(quiet=quiet) as display:
        folder = folder_of(found)
        if folder is not None and folder.is_dir() and not folder.samefile(Path.cwd()):
            display.say(f"in {folder}")
            os.chdir(folder)
        library = resume_recipe(wanted, found.id, display, again=resume_command(place))
    typer.echo(str(library.path.parent))
