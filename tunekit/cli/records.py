"""`tunekit records`: what was measured, looked through, taken out and exchanged."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekit.cli.catalogue import open_catalogue
from tunekit.cli.record_filters import (
    Host,
    Model,
    Operator,
    Session,
    Since,
    TargetFilter,
    Until,
    record_filter,
)
from tunekit.cli.style import Catalogue, Form, Quiet, Verbose, new_typer, progress
from tunekit.errors import UsageError
from tunekit.report.output import Format
from tunekit.wording import counted

if TYPE_CHECKING:
    from tunekit.catalogue.queries.filters import RecordFilter

app = new_typer(
    help="Records: the good trials. List, remove, export and import them.", no_args_is_help=True
)

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
    from tunekit.report.output import write
    from tunekit.report.records import records_result

    selection = record_filter(model, operator, target, host, session, since, until)
    with open_catalogue(catalogue) as opened:
        rows = opened.records.listed(
            selection,
            order="fastest" if fastest else "newest",
            limit=limit + 1 if limit else None,
            offset=offset,
        )
    shown = rows[:limit] if limit else rows
    write(records_result(shown), form)
    _tell_more(len(rows) > len(shown), offset + len(shown))


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
    """List the fastest record of each operator.

    On each target and host, slowest operators first.

    "final ms" are the seconds of a record that won when the best were measured again in turns;
    where there is such a winner, it is what gets compiled.
    """
    from tunekit.report.output import write
    from tunekit.report.records import best_result

    selection = record_filter(model, operator, target, host, session, since, until)
    with open_catalogue(catalogue) as opened:
        rows = opened.records.listed_best(
            selection, limit=limit + 1 if limit else None, offset=offset
        )
    shown = rows[:limit] if limit else rows
    write(best_result(shown), form)
    _tell_more(len(rows) > len(shown), offset + len(shown))


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
    """Show one record: all runs, its origin and its schedule."""
    from tunekit.report.output import write
    from tunekit.report.records import record_result

    module, trace = "", None
    with open_catalogue(catalogue) as opened:
        listed_record = opened.records.get(record)
        if schedule:
            from tunekit.ir.trace import printed

            saved_trace, saved_module = opened.records.source(record)
            module, trace = printed(saved_module, saved_trace)
    write(record_result(listed_record, module=module, trace=trace), form)


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
    """Remove records for good.

    Those with these ids, or all that the filters mean. Says how many and asks before it does.
    Failed trials stay: they say what not to try again.
    """
    selection = record_filter(model, operator, target, host, session, since, until, ids=records)
    if not selection.narrows:
        raise UsageError(
            "that would be every record there is", hint="give ids or filters, see --help"
        )
    with open_catalogue(catalogue) as opened:
        count, _ = opened.records.counts(selection)
        what = f"{counted(count, 'record')} of {opened.location}"
        if dry_run or not count:
            typer.echo(f"{'would remove' if count else 'nothing to remove:'} {what}")
            return
        if not yes:
            _confirm(f"remove {what}?")
        removed = opened.records.remove(selection)
    typer.echo(f"removed {counted(removed, 'record')}")


class MeasuredOn(StrEnum):
    """Who is said to have measured imported records."""

    this = "this"
    unknown = "unknown"


@app.command("export")
def export(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[SESSION|RECIPE]",
            help="A session (the start of its id will do), or a recipe's file: all records of its "
            "workloads that count for its target on this machine.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for the files.")
    ] = None,
    all_records: Annotated[
        bool, typer.Option("--all", help="All records, or all that the filters mean.")
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Only so many of each operator: winners of finals, then fastest."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    model: Model = None,
    operator: Operator = None,
    target: TargetFilter = None,
    host: Host = None,
    since: Since = None,
    until: Until = None,
    form: Form = Format.table,
    catalogue: Catalogue = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write records as MetaSchedule's own files, for stock TVM.

    Writes database_workload.json and database_tuning_record.json, which JSONDatabase loads and
    MetaScheduleApplyDatabase applies. Stock TVM ignores targets when it looks records up: records
    for several targets, or of several hosts, go into a folder each inside of DIR.

    The format keeps workloads, traces, raw seconds and targets. It has no place for failures,
    moments, hosts, measuring options, corrections for a noisy host and finals; with --top 1 stock
    TVM applies what tunekit would.
    """
    if output is None:
        raise UsageError("nobody said where to", hint="give a folder: -o DIR")
    if (what is None) == (not all_records):
        raise UsageError(
            "which records?" if what is None else f"both {what} and --all",
            hint="give a session's id or a recipe's file, or --all (with filters if you like)",
        )
    from tunekit.interchange.exporting import export_records
    from tunekit.report.output import write
    from tunekit.report.records import export_result

    say = progress(quiet=quiet)
    recipe = Path(what) if what is not None and _is_recipe(what) else None
    selection = record_filter(
        model, operator, target, host, None if recipe else what, since, until, with_reused=True
    )
    if recipe is not None:
        selection, location = _of_recipe(recipe, selection, catalogue, say)
        catalogue = catalogue or location
    with open_catalogue(catalogue) as opened:
        report = export_records(opened, selection, output, top=top, force=force, say=say)
    write(export_result(report), form)
    for record, reason in report.unwritable:
        say(f"record {record} cannot be written in this format: {reason}")


@app.command("import")
def import_(
    folder: Annotated[
        Path, typer.Argument(help="Folder with MetaSchedule's two files.", show_default=False)
    ],
    host: Annotated[
        MeasuredOn,
        typer.Option(
            help='Who measured them. "this": this machine or one just like it, so that they count '
            'here like its own. "unknown": they are kept, listed and exported, but not applied.'
        ),
    ] = MeasuredOn.unknown,
    quarantine: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where bad lines are written, with reasons. Default: tunekit_quarantine.jsonl in "
            "the folder.",
        ),
    ] = None,
    form: Form = Format.table,
    catalogue: Catalogue = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Take in the records of MetaSchedule's own files.

    Also of torn or damaged ones. Every trace is replayed on its workload first, in a process of its
    own. Lines that cannot be used are written to a file with their reasons; the folder's own files
    stay as they are. Records that are here already are not taken twice. Exits with 1 when no line
    could be used.
    """
    from tunekit.interchange.importing import import_folder
    from tunekit.interchange.replay import Replayer
    from tunekit.report.output import write
    from tunekit.report.records import import_result

    with open_catalogue(catalogue, create=True) as opened, Replayer() as replayer:
        report = import_folder(
            folder,
            opened,
            replayer,
            measured_on=host.value,
            quarantine=quarantine,
            say=progress(quiet=quiet),
        )
    write(import_result(report, measured_on=host.value), form)
    if report.bad and not report.added + report.known:
        raise typer.Exit(1)


def _is_recipe(what: str) -> bool:
    return Path(what).suffix.lower() in (".yaml", ".yml") or Path(what).is_file()


def _of_recipe(
    file: Path, selection: RecordFilter, catalogue: str | None, say: Callable[[str], None]
) -> tuple[RecordFilter, str]:
    """What a library of the recipe could be made of here, and the recipe's catalogue."""
    from dataclasses import replace

    from tunekit.recipe import load_recipe

    recipe = load_recipe(file)
    location = catalogue or recipe.catalogue
    open_catalogue(location).close()  # is told before the model is imported

    from tunekit.cache import ContentCache
    from tunekit.graph.sizes import prepare_sizes

    prepared = prepare_sizes(recipe, ContentCache(), say)
    conditions = prepared.conditions
    return (
        replace(
            selection,
            structural_hashes=tuple(task.structural_hash for task in prepared.tasks),
            target=selection.target or conditions.target,
            # Of a recipe for devices, those that measured its records.
            host=selection.host or conditions.host,
            toolchain_key=conditions.toolchain,
        ),
        location,
    )


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
