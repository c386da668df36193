"""`tunekit catalogue`: looking after the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunekit.cli.style import Catalogue, Form, Quiet, Verbose, new_typer, progress
from tunekit.report.output import Format
from tunekit.wording import counted

if TYPE_CHECKING:
    from tunekit.catalogue import Catalogue as Opened

app = new_typer(help="Look after the catalogue of measurements.", no_args_is_help=True)


@app.command()
def info(catalogue: Catalogue = None, form: Form = Format.table, verbose: Verbose = False) -> None:
    """Say where the catalogue is, how large, and what it holds."""
    from tunekit.report.output import write
    from tunekit.report.records import facts_result

    with open_catalogue(catalogue) as opened:
        write(facts_result(opened.maintenance.facts()), form)


@app.command()
def check(catalogue: Catalogue = None, form: Form = Format.table, verbose: Verbose = False) -> None:
    """Read everything and look for damage.

    Exits with 1 when the catalogue is not sound. One line for each problem. Nothing is changed.
    """
    from tunekit.report.output import write
    from tunekit.report.records import soundness_result

    with open_catalogue(catalogue) as opened:
        problems = opened.maintenance.check()
        place = opened.location
    write(soundness_result(place, problems), form)
    if problems:
        progress(quiet=False)(
            f"{place}: {counted(len(problems), 'problem')}; before anything else, copy the file: "
            "`tunekit catalogue backup`"
        )
        raise typer.Exit(1)


@app.command()
def backup(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The copy. Default: beside the catalogue, with date and time in its name.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    catalogue: Catalogue = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Copy the catalogue as it is at one moment.

    Others may go on writing meanwhile. The copy is a catalogue like any other. Its path is printed
    on standard output.
    """
    with open_catalogue(catalogue) as opened:
        if output is None:
            place = Path(opened.location)
            now = datetime.now(UTC)
            output = place.with_name(f"{place.stem}-{now:%Y%m%dT%H%M%SZ}{place.suffix}")
        size = opened.maintenance.backup(output, force=force)
        progress(quiet=quiet)(f"{size / 2**20:.1f} MiB copied from {opened.location}")
    typer.echo(str(output))


@app.command()
def merge(
    other: Annotated[str, typer.Argument(help="The other catalogue: a file or SQLAlchemy URL.")],
    catalogue: Catalogue = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Take in what another catalogue has and this one has not.

    Sessions, trials, finals, libraries and benchmark runs. The other catalogue is only read.
    Merging twice changes nothing; an interrupted merge is finished by another one.
    """
    from tunekit.errors import CatalogueError
    from tunekit.report.records import merged_text

    say = progress(quiet=quiet)
    with open_catalogue(other) as source, open_catalogue(catalogue, create=True) as opened:
        say(f"checking {source.location}")
        problems = source.maintenance.check()
        if problems:
            raise CatalogueError(
                f"{source.location} is not sound ({problems[0]}); nothing of it was taken",
                hint="`tunekit catalogue check` lists all its problems",
            )
        say(f"merging it into {opened.location}")
        merged = opened.maintenance.merge(source.maintenance)
    for old, new in merged.renamed:
        say(f"session {old} became {new}: another session here has that id")
    typer.echo(merged_text(merged))


@app.command()
def vacuum(catalogue: Catalogue = None, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Remove what nothing refers to, and free space on the disk.

    Needs as much free space as the catalogue is large, for a moment; writers wait for it.
    """
    say = progress(quiet=quiet)
    with open_catalogue(catalogue) as opened:
        before = opened.maintenance.facts().size_bytes
        removed = opened.maintenance.vacuum()
        after = opened.maintenance.facts().size_bytes
        place = opened.location
    for table, count in removed.items():
        say(f"removed {count:,} unused {table.replace('_', ' ')}")
    typer.echo(f"{place}: {before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB now")


@app.command()
def upgrade(
    backed_up: Annotated[
        bool,
        typer.Option("--backed-up", help="A PostgreSQL catalogue was backed up, by `pg_dump`."),
    ] = False,
    catalogue: Catalogue = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Bring an older catalogue to this version's schema.

    An SQLite file is copied to one beside it first. Whatever goes wrong, the catalogue stays as it
    was.
    """
    from tunekit.catalogue import upgrade as upgrade_catalogue
    from tunekit.environment import DEFAULT_CATALOGUE

    done = upgrade_catalogue(catalogue or DEFAULT_CATALOGUE, backed_up=backed_up)
    if done.backup is not None:
        progress(quiet=quiet)(f"the old catalogue is kept as {done.backup}")
    if done.from_revision == done.to_revision:
        typer.echo(f"{done.location}: up to date (schema revision {done.to_revision})")
    else:
        typer.echo(f"{done.location}: schema revision {done.from_revision}, now {done.to_revision}")


def open_catalogue(place: str | None, *, create: bool = False) -> Opened:
    """The catalogue that a flag or TUNEKIT_CATALOGUE names, else the default one."""
    from tunekit.catalogue import Catalogue as Opened
    from tunekit.environment import DEFAULT_CATALOGUE

    return Opened.open(place or DEFAULT_CATALOGUE, create=create)
