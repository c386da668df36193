"""`tunekit report`: one page of what tuning and benchmarks found out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunekit.cli.style import Catalogue, Lines, Quiet, Verbose


def report(
    things: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SESSION|RECIPE|FILE.json]...",
            help="Sessions by the beginning of their ids, recipes, files that `bench` or `explain` "
            "wrote. Default: the newest session.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the page goes.")
    ] = Path("report.html"),
    catalogue: Catalogue = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a page that shows how a session went, and benchmarks beside each other.

    One HTML file that needs no network: races with their samples, tuning curves, operators and
    their roofline, what failed, and how to do it again.
    """
    from tunekit.cli.catalogue import open_catalogue
    from tunekit.files import check_writable, write_atomically
    from tunekit.page.document import page
    from tunekit.page.material import gather

    check_writable(output)
    names = things or []
    if names and all(Path(name).suffix == ".json" for name in names):
        material = gather(names, None)
    else:
        with open_catalogue(catalogue) as opened:
            material = gather(names, opened)
    write_atomically(output, page(material))
    Lines(quiet=quiet).say(f"page written to {output}")
