"""`tunekit sessions`: which there are, newest first."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tunekit.cli.catalogue import open_catalogue
from tunekit.cli.style import Catalogue, Form, Verbose
from tunekit.report.output import Format

if TYPE_CHECKING:
    from tunekit.catalogue import SessionState

_UNFINISHED: tuple[SessionState, ...] = ("running", "interrupted", "failed")


class State(StrEnum):
    """What a session can be; `unfinished` is all but finished."""

    running = "running"
    interrupted = "interrupted"
    finished = "finished"
    failed = "failed"
    unfinished = "unfinished"


def sessions(
    state: Annotated[
        list[State] | None,
        typer.Option(help="Only those that are so; may be given several times."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only those of the recipe with this name.")] = (
        None
    ),
    here: Annotated[bool, typer.Option("--here", help="Only those of this machine.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    form: Form = Format.table,
    catalogue: Catalogue = None,
    verbose: Verbose = False,
) -> None:
    """List the sessions of the catalogue, newest first."""
    from tunekit.machine.host import detect_host
    from tunekit.report.output import write
    from tunekit.report.sessions import sessions_result

    states: set[SessionState] = set()
    for choice in state or ():
        # All but this one are the catalogue's own words.
        states.update(
            _UNFINISHED if choice is State.unfinished else (cast("SessionState", choice.value),)
        )
    with open_catalogue(catalogue) as ledger:
        infos = ledger.sessions.list(
            limit,
            states=sorted(states) if states else None,
            name=name,
            host_fingerprint=detect_host().fingerprint if here else None,
        )
    if infos or form is not Format.table:
        write(sessions_result(infos), form)
    else:
        typer.echo("no such sessions" if states or name or here else "no sessions yet", err=True)
