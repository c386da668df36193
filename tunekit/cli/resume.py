"""`tunekit resume`: go on with a session, from wherever one is."""

from __future__ import annotations

from typing import Annotated

import typer

from tunekit.cli.complete import complete_sessions
from tunekit.cli.export import export_too, require_bundle_folder
from tunekit.cli.style import BundleFolder, Catalogue, Lines, Quiet, Verbose, resume_command


def resume(
    session: Annotated[
        str | None,
        typer.Argument(
            help="The session's id, or its beginning. Default: the newest unfinished session of "
            "this machine.",
            show_default=False,
            autocompletion=complete_sessions,
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
    bundle: BundleFolder = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Go on with an unfinished session, then compile and verify.

    The recipe is the one that the session was begun with, and so is the folder from which its
    model is found. The library's folder is printed on standard output, and below it the bundle's.
    """
    from tunekit import api
    from tunekit.environment import DEFAULT_CATALOGUE
    from tunekit.report.tuning import TuningDisplay

    values = {"tuning.trials": trials, "tuning.max_seconds": max_seconds}
    location = catalogue or DEFAULT_CATALOGUE
    require_bundle_folder(bundle)
    with TuningDisplay(quiet=quiet) as display:
        library = api.resume(
            session,
            catalogue=location,
            settings={key: value for key, value in values.items() if value is not None},
            reporter=display,
            again=resume_command(location, bundle),
            names={"tuning.trials": "--trials", "tuning.max_seconds": "--max-seconds"},
        )
    typer.echo(str(library.folder))
    export_too(library.folder, bundle, Lines(quiet=quiet))
