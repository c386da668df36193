"""What a reader of the documents relies on: pages as the code is, commands that exist, links."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py"""
    return _load(DOCS / "generate.py")


def test_the_reference_is_what_the_code_says_today(generate: ModuleType) -> None:
    stale = [
        page.name for page in generate.pages() if generate.current(page) != page.read_text("utf-8")
    ]
    assert not stale, f"run `python docs/generate.py`: {stale}"


def test_every_verb_is_documented() -> None:
    from tunekit.cli.app import VERBS

    page = (DOCS / "reference/cli.md").read_text("utf-8")
    for verb in VERBS:
        assert f"## `tunekit {verb}`\n" in page


def test_every_key_of_a_recipe_is_documented(generate: ModuleType) -> None:
    from tunekit.recipe import recipe_fields

    page = (DOCS / "reference/recipe.md").read_text("utf-8")
    keys = recipe_fields()
    sections = {key for key in keys if any(other.startswith(f"{key}.") for other in keys)}
    assert {"model", "tuning.measure"} <= sections
    for key in keys.keys() - sections:
        assert f"| `{key}` |" in page, key


def test_every_public_name_and_every_error_is_documented() -> None:
    import tunekit
    from tunekit import errors

    page = (DOCS / "reference/api.md").read_text("utf-8")
    for name in tunekit.__all__:
        assert re.search(rf"^## (class )?`{name}`$", page, re.M), name
    page = (DOCS / "reference/exit-codes.md").read_text("utf-8")
    for name, thing in vars(errors).items():
        if isinstance(thing, type) and issubclass(thing, errors.TunekitError):
            assert f"`{name}` | {thing.exit_code} |" in page, name


@pytest.mark.parametrize("page", sorted((DOCS / "reference").glob("*.md")), ids=lambda p: p.stem)
def test_every_row_of_the_reference_says_what_it_means(page: Path) -> None:
    assert [line for line in page.read_text("utf-8").splitlines() if line.endswith("|  |")] == []


def test_the_recipe_in_the_reference_can_be_used(tmp_path: Path) -> None:
    from tunekit.recipe import load_recipe

    text = next(
        block
        for kind, block in _BLOCK.findall((DOCS / "reference/recipe.md").read_text())
        if kind == "yaml"
    )
    file = tmp_path / "documented.yaml"
    file.write_text(text)
    assert load_recipe(file).name == "my_model"


def _commands() -> list[Any]:
    """The `tunekit` command lines in the documents' console blocks."""
    lines = []
    for page in PAGES:
        for kind, block in _BLOCK.findall(page.read_text("utf-8")):
            if kind == "console":
                for line in re.sub(r"\\\n\s*", "", block).splitlines():
                    found = re.match(r"\S*\$ +(tunekit .*)", line)
                    if found:
                        lines.append(pytest.param(found[1], id=f"{page.stem}: {found[1]}"))
    return lines


@pytest.mark.parametrize("line", _commands())
def test_commands_in_the_documents_have_verbs_and_flags_that_exist(line: str) -> None:
    import typer

    from tunekit.cli.app import VERBS, app, load_verb

    words = shlex.split(line, comments=True)[1:]
    if words[0].startswith("-"):
        command = typer.main.get_command(app)
    else:
        assert words[0] in VERBS
        command = load_verb(words[0], VERBS[words[0]])
        for word in words[1:2]:
            below = getattr(command, "commands", None)
            if below is not None:
                assert word in below
                command = below[word]
    known = {flag for entry in command.params for flag in (*entry.opts, *entry.secondary_opts)}
    for word in words[1:]:
        if re.match(r"--?[a-zA-Z]", word):
            assert word.partition("=")[0] in known, word


def test_the_readme_is_a_page() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_front_pages_lead_to_every_guide(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for guide in sorted((DOCS / "guides").glob("*.md")):
        assert f"guides/{guide.name})" in text, guide.name


def test_every_ready_recipe_is_documented() -> None:
    from tunekit.recipe.ready import ready_recipes

    page = (DOCS / "reference/recipe.md").read_text("utf-8")
    for name in ready_recipes():
        assert f"| `{name}` |" in page, name


def test_lists_in_the_code_are_where_contributing_says() -> None:
    """Such as "`VERBS` of `tunekit/cli/app.py`"."""
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text("utf-8").split())
    named = re.findall(
        r"`([A-Z_]+)`(?: or `([A-Z_]+)`)? (?:of|in) `((?:tunekit|tests)/[\w/]+\.py)`", text
    )
    assert len(named) >= 7
    for *names, path in named:
        code = (ROOT / path).read_text("utf-8")
        for name in filter(None, names):
            assert re.search(rf"^{name}\b.* = ", code, re.M), f"{name} in {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    prose = _BLOCK.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
        if "://" not in target:
            assert (page.parent / target).exists(), target


_NAMED = sorted(
    {
        (page.relative_to(ROOT).as_posix(), path.rstrip("."))
        for page in PAGES
        for path in re.findall(
            r"(?<![\w/.-])((?:tunekit|tests|benchmarks|examples|docs|recipes)/[\w/.-]*)(?![\w/.<*{-])",
            # What programs include is a bundle's.
            re.sub(r"^#include.*", "", page.read_text("utf-8"), flags=re.M),
        )
    }
)


@pytest.mark.parametrize(("page", "path"), _NAMED)
def test_files_that_the_documents_name_exist(page: str, path: str) -> None:
    assert (ROOT / path).exists() or "NNNN" in path


_DOTTED = sorted(
    {
        name
        for page in PAGES
        for name in re.findall(r"`(tunekit(?:\.\w+)+)(?:\([^`]*\))?`", page.read_text("utf-8"))
    }
)


@pytest.mark.parametrize("name", _DOTTED)
def test_names_that_the_documents_give_can_be_had(name: str) -> None:
    import pkgutil

    if name != "tunekit.Library.manifest":  # a field, which its class does not have
        pkgutil.resolve_name(name)
