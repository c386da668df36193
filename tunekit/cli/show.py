"""`tunekit show SESSION`: how a session went."""

from __future__ import annotations

from typing import Annotated

import typer

from tunekit.cli.catalogue import open_catalogue
from tunekit.cli.complete import complete_sessions
from tunekit.cli.style import Catalogue, SessionForm, Verbose
from tunekit.errors import UsageError
from tunekit.report.output import Format

# Of the session's libraries, the newest.
_BENCHMARKS = 3


def show(
    session: Annotated[
        str | None,
        typer.Argument(
            help="The session's id, or its beginning. Default: the newest.",
            show_default=False,
            autocompletion=complete_sessions,
        ),
    ] = None,
    form: SessionForm = Format.table,
    catalogue: Catalogue = None,
    verbose: Verbose = False,
) -> None:
    """Show how a session went.

    Its tasks and their trials, the best and what failed, where time went, how it got better, and
    the newest benchmarks of its library.
    """
    from tunekit.benchmark.history import past_runs
    from tunekit.page.document import with_page
    from tunekit.report.output import speaks_unicode, write
    from tunekit.report.sessions import session_result

    with open_catalogue(catalogue) as ledger:
        if session is not None:
            info = ledger.sessions.find(session)
        else:
            newest = ledger.sessions.list(limit=1)
            if not newest:
                raise UsageError(
                    f"{ledger.location} has no sessions yet",
                    hint="`tunekit tune RECIPE` begins one",
                )
            info = newest[0]
        report = ledger.sessions.report(info.id)
        runs = past_runs(ledger, session_id=info.id, limit=_BENCHMARKS)
    result = with_page(session_result(report, runs, unicode=speaks_unicode()), sessions=[report])
    write(result, form)
