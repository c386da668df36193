"""Writes the parts of docs/ and of the README that the code and the results themselves say.

    python docs/generate.py

A page is written by hand around places such as

    <!-- generated: recipe -->
    ...
    <!-- end -->

and what stands between the two lines is made here: commands from Typer, recipe keys from the
schema's docstrings, the manifest from its model, errors from their classes, the Python interface
from its signatures, benchmarks from their rows. tests/test_docs.py fails where a page is stale.
"""

from __future__ import annotations

import ast
import html
import importlib
import inspect
import pkgutil
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deployment_page
import detectors_page
import explain_page
import forms_page
import gate_page
import imports_page
import instances_page
import models_page
import noise_page
import threads_page
import zoo_page
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

DOCS = Path(__file__).resolve().parent

_PLACE = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.S)
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):\n((?:[ \t]+.*\n?|\n)*)", re.M)
_ENTRY = re.compile(r"^(\*{0,2}[\w.`, ]+): (.*(?:\n[ \t]+.*)*)", re.M)

_PARTS_OF_RESULTS = (
    "tunekit.standalone.loaded:TensorInfo",
    "tunekit.standalone.loaded:AxisInfo",
    "tunekit.standalone.events:TraceEvent",
    "tunekit.benchmark.results:RuntimeResult",
    "tunekit.attribution.results:Operator",
    "tunekit.attribution.results:RuntimeEntry",
    "tunekit.library.coverage:TaskKnowledge",
)


def main() -> None:
    """Writes every page anew."""
    for path in pages():
        path.write_text(current(path), "utf-8")


def pages() -> list[Path]:
    """The pages with something generated in them."""
    papers = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]
    return [page for page in papers if _PLACE.search(page.read_text("utf-8"))]


def current(page: Path) -> str:
    """The page as the code of today has it."""

    def made(place: re.Match[str]) -> str:
        return f"{place[1]}\n{PARTS[place[2]]().strip()}\n\n{place[3]}"

    return _PLACE.sub(made, page.read_text("utf-8"))


# Commands


def commands() -> str:
    """Every verb with its arguments and options."""
    from tunekit.cli.app import VERBS, load_verb

    return "\n".join(_command(load_verb(verb, VERBS[verb]), f"tunekit {verb}") for verb in VERBS)


def _command(command: Any, name: str, level: int = 2) -> str:
    """A verb, and those below it one level deeper."""
    import typer

    context = typer.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    lines = [f"{'#' * level} `{name}`", "", _prose(command.help), "", f"    {usage}", ""]
    below = getattr(command, "commands", {})
    if not below:
        records = [(entry, entry.get_help_record(context)) for entry in command.params]
        rows = [
            (_code(record[0]), _cell(_prose(record[1])))
            for entry, record in records
            if record is not None
        ]
        if rows:
            lines += [*_table(("argument or option", "meaning"), rows), ""]
    for sub_name, sub_command in below.items():
        lines.append(_command(sub_command, f"{name} {sub_name}", level + 1))
    return "\n".join(lines)


# Recipes


def recipe() -> str:
    """Every key of a recipe, section by section."""
    from tunekit.recipe import Recipe

    rows = [
        (f"`{key}`", _default(field), _cell(_prose(field.description)))
        for key, field in _keys(Recipe)
    ]
    return "\n".join(_table(("key", "default", "meaning"), rows))


def _keys(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their fields; a section's own keys in place of the section."""
    for name, field in model.model_fields.items():
        section, many = _section_of(field.annotation)
        if section is None:
            yield f"{above}{name}", field
        else:
            if many or (not field.is_required() and field.default is None):
                yield f"{above}{name}", field
            yield from _keys(section, f"{above}{name}{many}.")


def _section_of(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The model of a nested section, and what stands for one of several where there are."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    for part in typing.get_args(annotation):
        section, _ = _section_of(part)
        if section is not None:
            return section, {tuple: "[]", dict: ".NAME"}.get(typing.get_origin(annotation), "")
    return None, ""


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is PydanticUndefined:
        value = field.default_factory()
    if value is None or isinstance(value, BaseModel) or value == ():
        return ""
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def ready() -> str:
    """The recipes that come with tunekit, each with what its comment says of it."""
    from tunekit.recipe.ready import about, ready_recipes

    rows = [(f"`{name}`", _cell(about(file))) for name, file in ready_recipes().items()]
    return "\n".join(_table(("recipe", "what it is"), rows))


# The manifest


def manifest() -> str:
    """Every field of manifest.json and of what is nested in it."""
    from tunekit.library.manifest import Manifest

    return _fields("`manifest.json`", _nested(Manifest))


def bundle() -> str:
    """Every field of a bundle's manifest.json that a library's does not have."""
    from tunekit.bundle.manifest import BundleManifest
    from tunekit.library.manifest import Manifest

    known = _nested(Manifest)
    models = [model for model in _nested(BundleManifest) if model not in known]
    return _fields("`manifest.json` of a bundle", models)


def _fields(title: str, models: list[type[BaseModel]]) -> str:
    """The fields of models, the first of which is a file."""
    lines: list[str] = []
    for model in models:
        said = _attributes(model.__doc__ or "")
        fields = [
            (f"`{field.alias or name}`", _type(model, name), _cell(said.get(name, "")))
            for name, field in model.model_fields.items()
        ]
        heading = title if model is models[0] else f"`{model.__name__}`"
        lines += [f"### {heading}", "", _prose(_SECTION.sub("", _doc(model))), ""]
        lines += [*_table(("field", "type", "meaning"), fields), ""]
    return "\n".join(lines)


def _nested(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The model and all that its fields are made of, each once, from the top."""
    order, waiting = [model], [model]
    while waiting:
        for field in waiting.pop(0).model_fields.values():
            section, _ = _section_of(field.annotation)
            if section is not None and section not in order:
                order.append(section)
                waiting.append(section)
    return order


def _type(model: type, name: str) -> str:
    for kind in model.__mro__:
        annotations = inspect.get_annotations(kind)
        if name in annotations:
            return _code(str(annotations[name]))
    return ""


# Errors


def errors() -> str:
    """Every error that tunekit raises on purpose, with its exit code."""
    from tunekit.errors import TunekitError

    rows = [
        (f"{'&emsp;' * depth}`{error.__name__}`", str(error.exit_code), _summary(error))
        for error, depth in _family(TunekitError)
    ]
    return "\n".join(_table(("error", "exit code", "meaning"), rows))


def _family(error: type, depth: int = 0) -> Iterator[tuple[Any, int]]:
    yield error, depth
    for below in error.__subclasses__():
        if below.__module__ == "tunekit.errors":
            yield from _family(below, depth + 1)


# Python


def api() -> str:
    """Every public name of `tunekit`."""
    import tunekit

    things = {name: getattr(tunekit, name) for name in tunekit.__all__}
    functions = [name for name, thing in things.items() if inspect.isfunction(thing)]
    functions.sort(key=lambda name: things[name].__code__.co_firstlineno)
    classes = [name for name in things if name not in functions]
    return "\n".join(_public(name, things[name]) for name in (*functions, *classes))


def results() -> str:
    """What the results of public functions are made of."""
    kinds = [pkgutil.resolve_name(place) for place in _PARTS_OF_RESULTS]
    return "\n".join(_class(kind.__name__, kind, level=3) for kind in kinds)


def catalogue() -> str:
    """What each group of the catalogue's calls offers."""
    from tunekit.catalogue import collections

    lines: list[str] = []
    for group in ("sessions", "trials", "records", "libraries", "benchmarks", "maintenance"):
        module = importlib.import_module(f"{collections.__name__}.{group}")
        kind = getattr(module, group.capitalize())
        rows = [
            (_code(f"{name}{_arguments(method)}"), _summary(method))
            for name, method in _members(kind)
        ]
        lines += [f"### `catalogue.{group}`", "", _prose(_doc(kind)), ""]
        lines += [*_table(("call", "what it does"), rows), ""]
    return "\n".join(lines)


def _arguments(method: Any) -> str:
    """The names of a method's arguments."""
    parts = _with_star(list(inspect.signature(method).parameters.values())[1:])
    names = [part if part == "*" else part.name for part in parts]
    return f"({', '.join(names)})"


def _public(name: str, thing: Any) -> str:
    if inspect.isclass(thing):
        return _class(name, thing)
    if callable(thing):
        return "\n".join([_signature(name, thing), _documented(thing)])
    return f"## `{name}`\n\n`{thing!r}`\n"


def _class(name: str, kind: type, level: int = 2) -> str:
    lines = [f"{'#' * level} class `{name}`", "", _documented(kind)]
    fields = _fields_without_words(kind)
    if fields:
        lines += ["**Fields**", "", *fields, ""]
    for member, what in _members(kind):
        if isinstance(what, property):
            lines += [f"**`{member}`**: {_summary(what.fget)}", ""]
        else:
            function = what.__func__ if isinstance(what, staticmethod | classmethod) else what
            lines += [_signature(member, function, level=level + 1), _documented(function)]
    return "\n".join(lines)


def _fields_without_words(kind: type) -> list[str]:
    """The fields that neither a docstring nor a description speaks of, with their types."""
    said = set(_attributes(kind.__doc__ or ""))
    for name, field in getattr(kind, "model_fields", {}).items():
        if field.description:
            said.add(name)
    return [
        f"- `{name}: {_short(annotation)}`"
        for name, annotation in inspect.get_annotations(kind).items()
        if name not in said and not name.startswith(("_", "model_")) and not name.endswith("_")
    ]


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class offers beyond what pydantic and Exception give it."""
    for member, what in vars(kind).items():
        documented = getattr(getattr(what, "fget", what), "__doc__", None)
        if member.startswith(("_", "model_")) or not documented:
            continue
        if isinstance(what, property | staticmethod | classmethod) or inspect.isfunction(what):
            yield member, what


def _signature(name: str, function: Callable[..., Any], level: int = 2) -> str:
    """A heading and the call, an argument a line where one line does not hold it."""
    signature = inspect.signature(function)
    kept = [part for part in signature.parameters.values() if part.name not in ("self", "cls")]
    gives = signature.return_annotation
    arrow = "" if gives is signature.empty else f" -> {_short(gives)}"
    parts = [_plain(part) for part in _with_star(kept)]
    call = f"{name}({', '.join(parts)}){arrow}"
    if len(call) > 88:
        call = f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){arrow}"
    return f"{'#' * level} `{name}`\n\n```python\n{call}\n```\n"


def _with_star(parameters: list[inspect.Parameter]) -> list[Any]:
    """The parameters with the bare star that a signature has before its keywords."""
    given: list[Any] = list(parameters)
    for position, part in enumerate(parameters):
        if part.kind is part.VAR_POSITIONAL:
            break
        if part.kind is part.KEYWORD_ONLY:
            given.insert(position, "*")
            break
    return given


def _plain(part: Any) -> str:
    """A parameter as it is written, without module paths in its type."""
    if not isinstance(part, inspect.Parameter):
        return str(part)
    stars = {part.VAR_POSITIONAL: "*", part.VAR_KEYWORD: "**"}.get(part.kind, "")
    kind = "" if part.annotation is part.empty else f": {_short(part.annotation)}"
    given = "" if part.default is part.empty else f" = {part.default!r}"
    return f"{stars}{part.name}{kind}{given}"


def _short(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z]\w*)", "", text)


def _documented(thing: Any) -> str:
    """A docstring as Markdown: its sections as lists."""

    def section(found: re.Match[str]) -> str:
        title, body = found[1], textwrap.dedent(found[2])
        entries = _ENTRY.findall(body)
        if title in ("Returns", "Yields"):
            return f"\n**{title}:** {' '.join(body.split())}\n\n"
        lines = [f"- `{name.strip('`')}`: {' '.join(text.split())}" for name, text in entries]
        return "\n".join([f"\n**{title}**\n", *lines, "", ""])

    return _prose(_SECTION.sub(section, _doc(thing) + "\n")) + "\n"


# Architecture


def layers() -> str:
    """The layers of tunekit from the ground up, as the test of the architecture has them."""
    test = ast.parse((DOCS.parent / "tests/test_architecture.py").read_text("utf-8"))
    (plan,) = (
        ast.literal_eval(statement.value)
        for statement in test.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "LAYERS"
    )
    rows = []
    for number, layer in enumerate(plan, 1):
        # Whoever imports `__main__` runs it.
        for package in sorted(layer - {"__main__"}):
            module = importlib.import_module(f"tunekit.{package}")
            rows.append((str(number), f"`{package}`", _summary(module).rstrip(".")))
    return "\n".join(_table(("layer", "package", "what it is"), rows))


# Pieces


def _doc(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def _summary(thing: Any) -> str:
    """The first paragraph of a docstring, in one line."""
    return _cell(_prose(_doc(thing).partition("\n\n")[0]))


def _prose(text: str | None) -> str:
    """A docstring's text in Markdown: single backticks, an indented block as code."""
    text = (text or "").partition("\f")[0].replace("``", "`")
    return re.sub(r"(?<![`\w:<])([\w.:]*(?:<[\w.]+>:?)+)(?![`>])", r"`\1`", text).strip()


def _attributes(docstring: str) -> dict[str, str]:
    """What a docstring's `Attributes:` section says of each."""
    for title, body in _SECTION.findall(inspect.cleandoc(docstring) + "\n"):
        if title == "Attributes":
            entries = _ENTRY.findall(textwrap.dedent(body))
            return {name: " ".join(text.split()) for name, text in entries}
    return {}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    """Code in a cell of a table, where Markdowns differ about what ends a cell."""
    if "|" not in text:
        return f"`{text}`"
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "recipe": recipe,
    "ready": ready,
    "manifest": manifest,
    "bundle": bundle,
    "errors": errors,
    "api": api,
    "results": results,
    "catalogue": catalogue,
    "layers": layers,
    "deployment": lambda: deployment_page.page(_table),
    "detectors": lambda: detectors_page.races(_table),
    "whole": detectors_page.headline,
    "stages": lambda: detectors_page.stages(_table),
    "forms": lambda: forms_page.forms(_table),
    "weights": lambda: forms_page.weights(_table),
    "explain": explain_page.page,
    "gate": gate_page.page,
    "instances": lambda: instances_page.page(_table),
    "noise": noise_page.page,
    "headline": lambda: models_page.headline(_table),
    "caption": models_page.caption,
    "imports": lambda: imports_page.page(_table),
    "shipped": lambda: zoo_page.shipped(_table),
    "models": lambda: models_page.page(_table),
    "race": models_page.race,
    "threads": lambda: threads_page.page(_table),
    "zoo": lambda: zoo_page.page(_table),
}
"""What can stand in a page, by the name in its comment."""


if __name__ == "__main__":
    main()
