"""`tunekit show SESSION`: how a session went."""

from __future__ import annotations

import sys
from enum import Enum
from typing import Annotated

import typer

from tunekit.cli.catalogue import open_catalogue
from tunekit.cli.style import Catalogue, Verbose
from tunekit.errors import UsageError


class ShowFormat(str, Enum):
    """How a session is written."""

    table = "table"
    json = "json"


def show(
    session: Annotated[
        str | None,
        typer.Argument(
            help="The session's id, or its beginning. Default: the newest.", show_default=False
        ),
    ] = None,
    form: Annotated[
        ShowFormat, typer.Option("--format", "-f", help="How to write it.")
    ] = ShowFormat.table,
    catalogue: Catalogue = None,
    verbose: Verbose = False,
) -> None:
    """Show a session: its tasks, trials, best, failures, where time went, and how it got better."""
    from tunekit.report import fitting_table
    from tunekit.report.listing import as_json
    from tunekit.report.sessions import account_text, account_value

    with open_catalogue(catalogue) as ledger:
        if session is not None:
            found = ledger.find_session(session)
        else:
            newest = ledger.sessions(limit=1)
            if not newest:
                raise UsageError(
                    f"{ledger.location} has no sessions yet",
                    hint="`tunekit tune RECIPE` begins one",
                )
            found = newest[0]
        account = ledger.account(found.id)
    if form is ShowFormat.json:
        typer.echo(as_json(account_value(account)), nl=False)
        return
    console = fitting_table.console()
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    width = console.width if sys.stdout.isatty() else fitting_table.LINE_WIDTH
    for number, part in enumerate(account_text(account, width, unicode=unicode)):
        if number:
            print()
        console.print(part, soft_wrap=not sys.stdout.isatty())
