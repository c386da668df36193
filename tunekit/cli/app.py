"""`tunekit`: the verbs, and the one place that turns errors into messages and exit codes.

A verb's module is imported only when the verb is used (or all verbs are listed), and none of
them imports TVM or torch before it has work for them: help answers at once.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tunekit.cli.options import RecipeVerb
from tunekit.cli.style import new_typer
from tunekit.errors import Interrupted, TunekitError, UsageError
from tunekit.processes.interrupts import interrupt, interruptible
from tunekit.version import __version__
from tunekit.wording import did_you_mean

VERBS: dict[str, str] = {
    "doctor": "tunekit.cli.doctor:doctor",
    "recipe": "tunekit.cli.recipe:app",
    "tune": "tunekit.cli.tune:tune",
    "resume": "tunekit.cli.resume:resume",
    "sessions": "tunekit.cli.sessions:sessions",
    "show": "tunekit.cli.show:show",
    "report": "tunekit.cli.report:report",
    "lookup": "tunekit.cli.lookup:lookup",
    "compile": "tunekit.cli.compile:compile",
    "export": "tunekit.cli.export:export",
    "bench": "tunekit.cli.bench:bench",
    "explain": "tunekit.cli.explain:explain",
    "records": "tunekit.cli.records:app",
    "catalogue": "tunekit.cli.catalogue:app",
    "devices": "tunekit.cli.devices:devices",
}
"""Each verb's `module:attribute`: a function for typer, a RecipeVerb, or a typer app."""


class VerbGroup(TyperGroup):
    """The verbs of VERBS, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            raise UsageError(
                f"no such command {cmd_name!r}{did_you_mean(cmd_name, VERBS)}",
                hint="tunekit --help lists them",
            )
        return load_verb(cmd_name, VERBS[cmd_name])

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        # By their docstrings: what options mean takes half a second to load.
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(place)) for name, place in VERBS.items()])

    def invoke(self, ctx: Any) -> Any:
        # Typer would end on Ctrl-C without a word.
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None


def load_verb(name: str, place: str) -> Any:
    """The command that `module:attribute` defines."""
    verb = _attribute(place)
    if isinstance(verb, RecipeVerb):
        verb = verb.command()
    if not isinstance(verb, typer.Typer):
        function, verb = verb, new_typer()
        verb.command(name)(function)
    command = typer.main.get_command(verb)
    command.name = name
    return command


def _attribute(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _summary(place: str) -> str:
    """The first sentence of a verb's help."""
    verb = _attribute(place)
    if isinstance(verb, typer.Typer):
        text = str(verb.info.help)
    else:
        text = inspect.getdoc(verb.verb if isinstance(verb, RecipeVerb) else verb) or ""
    return text.partition("\n\n")[0].rstrip(".")


app = new_typer(cls=VerbGroup, no_args_is_help=True, add_completion=True)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"tunekit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """From a trained model to the fastest verified shared library for this machine."""


def run_guarded(call: Callable[[], object], *, verbose: bool) -> int:
    """Run it; a TunekitError or Ctrl-C becomes a message on standard error and its exit code.

    `verbose` adds the traceback. Any other exception is a bug and passes through.
    """
    try:
        with interruptible():
            call()
    except TunekitError as error:
        return _report(error, verbose=verbose)
    except KeyboardInterrupt:
        return _report(Interrupted("interrupted"), verbose=verbose)
    return 0


def _report(error: TunekitError, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exception(error)
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)
    return error.exit_code


def main() -> None:
    """The console script."""
    # Not where Ctrl-C is ignored, as in what a shell runs in the background.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        sys.exit(run_guarded(app, verbose=not {"--verbose", "-v"}.isdisjoint(sys.argv[1:])))
    finally:
        # The interpreter looks for garbage among all objects of TVM and torch before it ends, which
        # takes a second or two.
        gc.disable()
        gc.freeze()
