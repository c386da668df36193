"""What all verbs have in common: plain help, which also loads without rich, and their flags."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")]
"""Taken by every verb; the one place that reports errors looks for it (``app.main``)."""


def new_typer(**settings: Any) -> typer.Typer:
    """A typer app in the project's manner."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        **settings,
    )
