"""`tunekit report`: one page of what tuning and benchmarks found out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tunekit.cli.style import Catalogue, Lines, Quiet, Verbose
from tunekit.errors import UsageError


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
    from tunekit.page.material import gather, is_recipe

    check_writable(output)
    names = things or []
    if catalogue is None:
        catalogue = _catalogue_of([Path(name) for name in names if is_recipe(name)])
    if names and all(Path(name).suffix == ".json" for name in names):
        material = gather(names, None)
    else:
        with open_catalogue(catalogue) as opened:
            material = gather(names, opened)
    write_atomically(output, page(material))
    Lines(quiet=quiet).say(f"page written to {output}")


def _catalogue_of(recipes: Sequence[Path]) -> str | None:
    """Where recipes keep their measurements; None where none is named."""
    from tunekit.recipe import load_recipe

    places = sorted({load_recipe(recipe).catalogue for recipe in recipes})
    if len(places) > 1:
        raise UsageError(
            f"the recipes keep their measurements in {' and '.join(places)}",
            hint="name one with --catalogue FILE, or make a page of each",
        )
    return places[0] if places else None
