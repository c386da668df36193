"""`tunekit records`: what was measured, looked through, taken out and exchanged."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekit.cli.catalogue import open_catalogue
from tunekit.cli.style import Catalogue, Form, Format, Verbose, new_typer, progress
from tunekit.errors import UsageError

if TYPE_CHECKING:
    from tunekit.catalogue.listing import RecordFilter

app = new_typer(
    help="Records: the good trials. List, remove, export and import them.", no_args_is_help=True
)

Model = Annotated[
    str | None, typer.Option(help="Of models or recipes with this in their name (*, ? allowed).")
]
Operator = Annotated[
    str | None,
    typer.Option(help="Of operators with this in their name (*, ? allowed), or of this hash."),
]
TargetFilter = Annotated[
    str | None, typer.Option("--target", help='For targets with these words, like "znver3".')
]
Host = Annotated[
    str | None,
    typer.Option(help='Measured on hosts with this fingerprint or CPU name, or on "this" one.'),
]
Session = Annotated[str | None, typer.Option(help="Of this session; the start of its id will do.")]
Since = Annotated[
    str | None, typer.Option(metavar="DATE", help="Measured then or later: 2026-11-22, 12h or 7d.")
]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="Measured before then.")]
Limit = Annotated[int, typer.Option(min=0, help="Rows to show; 0 for all.")]
Offset = Annotated[int, typer.Option(min=0, help="Rows to skip.")]


@app.command("ls")
def ls(
    model: Model = None,
    operator: Operator = None,
    target: TargetFilter = None,
    host: Host = None,
    session: Session = None,
    since: Since = None,
    until: Until = None,
    fastest: Annotated[
        bool, typer.Option("--fastest", help="Fastest first, not newest first.")
    ] = False,
    limit: Limit = 20,
    offset: Offset = 0,
    form: Form = Format.table,
    catalogue: Catalogue = None,
    verbose: Verbose = False,
) -> None:
    """List records, newest first."""
    from tunekit.report.records import records_text

    wanted = _filter(model, operator, target, host, session, since, until)
    with open_catalogue(catalogue) as opened:
        found = opened.list_records(
            wanted,
            order="fastest" if fastest else "newest",
            limit=limit + 1 if limit else None,
            offset=offset,
        )
    shown = found[:limit] if limit else found
    typer.echo(records_text(shown, form.value), nl=False)
    _tell_more(len(found) > len(shown), offset + len(shown))


@app.command("best")
def best(
    model: Model = None,
    operator: Operator = None,
    target: TargetFilter = None,
    host: Host = None,
    session: Session = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    offset: Offset = 0,
    form: Form = Format.table,
    catalogue: Catalogue = None,
    verbose: Verbose = False,
) -> None:
    """The fastest record of each operator on each target and host, slowest operators first.

    "final ms" are the seconds of a record that won when the best were measured again in turns;
    where there is such a winner, it is what gets compiled.
    """
    from tunekit.report.records import best_text

    wanted = _filter(model, operator, target, host, session, since, until)
    with open_catalogue(catalogue) as opened:
        found = opened.list_best(wanted, limit=limit + 1 if limit else None, offset=offset)
    shown = found[:limit] if limit else found
    typer.echo(best_text(shown, form.value), nl=False)
    _tell_more(len(found) > len(shown), offset + len(shown))


@app.command("show")
def show(
    record: Annotated[int, typer.Argument(help="The record's id, as `ls` shows it.")],
    schedule: Annotated[
        bool, typer.Option("--schedule", help="Also its workload and its schedule, as Python.")
    ] = False,
    form: Form = Format.table,
    catalogue: Catalogue = None,
    verbose: Verbose = False,
) -> None:
    """Show one record: all runs, where they come from, and its schedule."""
    from tunekit.report.records import record_text

    module, trace = "", None
    with open_catalogue(catalogue) as opened:
        found = opened.record(record)
        if schedule:
            from tunekit.interchange.portable import printed

            saved_trace, saved_module = opened.record_source(record)
            module, trace = printed(saved_module, saved_trace)
    typer.echo(record_text(found, form.value, module=module, trace=trace), nl=False)


@app.command("rm")
def rm(
    records: Annotated[
        list[int] | None, typer.Argument(help="Ids of records.", show_default=False)
    ] = None,
    model: Model = None,
    operator: Operator = None,
    target: TargetFilter = None,
    host: Host = None,
    session: Session = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many it would be.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    catalogue: Catalogue = None,
    verbose: Verbose = False,
) -> None:
    """Remove records for good: those with these ids, or all that the filters mean.

    Says how many and asks before it does. Failed trials stay: they say what not to try again.
    """
    wanted = _filter(model, operator, target, host, session, since, until, ids=records)
    if not wanted.narrows:
        raise UsageError(
            "that would be every record there is", hint="give ids or filters, see --help"
        )
    with open_catalogue(catalogue) as opened:
        count, _ = opened.count_records(wanted)
        what = f"{count:,} record{'' if count == 1 else 's'} of {opened.place}"
        if dry_run or not count:
            typer.echo(f"{'would remove' if count else 'nothing to remove:'} {what}")
            return
        if not yes:
            _confirm(f"remove {what}?")
        removed = opened.remove_records(wanted)
    typer.echo(f"removed {removed:,} record{'' if removed == 1 else 's'}")


def _filter(
    model: str | None,
    operator: str | None,
    target: str | None,
    host: str | None,
    session: str | None,
    since: str | None,
    until: str | None,
    *,
    ids: list[int] | None = None,
    **more: Any,
) -> RecordFilter:
    from tunekit.catalogue.listing import RecordFilter

    if host == "this":
        from tunekit.host import detect_host

        host = detect_host().fingerprint
    return RecordFilter(
        model=model,
        operator=operator,
        target=target,
        host=host,
        session=session,
        since=_moment("--since", since),
        until=_moment("--until", until),
        ids=tuple(ids) if ids else None,
        **more,
    )


def _moment(flag: str, text: str | None) -> datetime | None:
    """A moment as typed: ISO date or date and time (of this machine's zone), or an age."""
    if text is None:
        return None
    now = datetime.now().astimezone()
    units = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    if text[-1:] in units and text[:-1].isdigit():
        try:
            return now - timedelta(**{units[text[-1]]: int(text[:-1])})
        except OverflowError:
            return datetime.min.replace(tzinfo=now.tzinfo)
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(
            f"{flag} {text!r} is not a date",
            hint="like 2026-11-22, 2026-11-22T14:30, or an age: 30m, 12h, 7d, 2w",
        ) from None
    return found if found.tzinfo else found.astimezone()


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            f"{question} Nobody can be asked here", hint="add --yes to go ahead, or --dry-run"
        )
    # On standard error: standard output carries the result.
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


def _tell_more(more: bool, shown: int) -> None:
    if more:
        progress(quiet=False)(f"there are more: --offset {shown}, or --limit 0 for all")
