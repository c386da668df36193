"""What a page is about: found by a session's id, a recipe, or files of benchmarks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import TunekitError, UsageError
from tunekit.files import read_text

if TYPE_CHECKING:
    from tunekit.attribution.results import Explanation
    from tunekit.benchmark.results import Report
    from tunekit.catalogue import Catalogue, SessionReport
    from tunekit.library import Manifest


@dataclass
class Material:
    """Attributes:
    benchmarks: those of one model newest last.
    explanations: of libraries.
    sessions: of tuning.
    libraries: manifests.
    remarks: what could not be shown, and why.
    """

    benchmarks: list[Report] = field(default_factory=list)
    explanations: list[Explanation] = field(default_factory=list)
    sessions: list[SessionReport] = field(default_factory=list)
    libraries: list[Manifest] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def gather(things: Sequence[str], catalogue: Catalogue | None) -> Material:
    """Everything that a page shows.

    Args:
        things: files that `bench` or `explain` wrote, recipes, sessions by the beginning of their
            ids; the newest session where there are none.
        catalogue: where sessions are looked up; None where there is none.

    Raises:
        UsageError: one of them is none of these, or cannot be read.
    """
    material = Material()
    for thing in things or [_newest(catalogue)]:
        path = Path(thing)
        if path.suffix == ".json":
            _add_file(material, path)
        elif is_recipe(thing):
            _add_recipe(material, path, _required(catalogue, thing))
        else:
            _add_session(material, thing, _required(catalogue, thing))
    if len({report.model.digest for report in material.benchmarks}) == 1:
        material.benchmarks.sort(key=lambda report: report.environment.date)
    return material


def is_recipe(thing: str) -> bool:
    """Whether what a page shall be about is the file of a recipe."""
    return Path(thing).suffix in (".yaml", ".yml")


def _required(catalogue: Catalogue | None, thing: str) -> Catalogue:
    if catalogue is None:
        raise UsageError(
            f"{thing} is looked up in a catalogue, and there is none",
            hint="--catalogue FILE names it; files that `tunekit bench -o` wrote need none",
        )
    return catalogue


def _newest(catalogue: Catalogue | None) -> str:
    sessions = [] if catalogue is None else catalogue.sessions.list(limit=1)
    if not sessions:
        raise UsageError(
            "there is no session to report on",
            hint="name a file that `tunekit bench -o` wrote, or tune: `tunekit tune RECIPE`",
        )
    return sessions[0].id


def _add_file(material: Material, path: Path) -> None:
    from tunekit.attribution.results import SCHEMA as EXPLANATION
    from tunekit.attribution.results import Explanation
    from tunekit.benchmark.results import Report

    text = read_text(path)
    if f'"{EXPLANATION}"' in text[:200]:
        material.explanations.append(Explanation.from_json(text, file=path))
    else:
        material.benchmarks.append(Report.from_json(text, file=path))


def _add_recipe(material: Material, path: Path, catalogue: Catalogue) -> None:
    from tunekit.library.manifest import MANIFEST_FILE
    from tunekit.library.output import library_folder
    from tunekit.recipe import load_recipe

    recipe = load_recipe(path)
    sessions = catalogue.sessions.list(limit=1, name=recipe.name)
    default = library_folder(recipe)
    compiled = (default / MANIFEST_FILE).is_file()
    benchmarked = bool(catalogue.benchmarks.list(name=recipe.name, limit=1))
    if not (sessions or compiled or benchmarked):
        raise UsageError(
            f"{catalogue.location} has no session and no benchmark of {recipe.name}",
            hint=f"`tunekit tune {path}` and `tunekit bench {path}` make some",
        )
    session = catalogue.sessions.report(sessions[0].id) if sessions else None
    if session is not None:
        material.sessions.append(session)
    folder = _library_of(session)
    if compiled and (folder is None or not (folder / MANIFEST_FILE).is_file()):
        # There was no session, or it was interrupted before it had a library, or that is gone.
        folder = default
    if folder is not None:
        _add_library(material, folder)
    _add_benchmarks(material, catalogue, name=recipe.name)


def _add_session(material: Material, prefix: str, catalogue: Catalogue) -> None:
    info = catalogue.sessions.find(prefix)
    report = catalogue.sessions.report(info.id)
    material.sessions.append(report)
    folder = _library_of(report)
    if folder is not None:
        _add_library(material, folder)
    _add_benchmarks(material, catalogue, name=info.name)


def _library_of(session: SessionReport | None) -> Path | None:
    """The folder of the newest library that was compiled from a session, which may be gone."""
    if session is None or not session.libraries:
        return None
    return Path(session.libraries[0].path).parent


def _add_library(material: Material, folder: Path) -> None:
    """The library in a folder, and what `explain` found out of it."""
    from tunekit.attribution.kept import kept
    from tunekit.library.manifest import load_manifest

    try:
        material.libraries.append(load_manifest(folder))
    except UsageError as error:
        material.remarks.append(f"the library is not shown: {error.message}")
        return
    try:
        explanation = kept(folder)
    except UsageError as error:
        material.remarks.append(f"the library's explanation is not shown: {error.message}")
    else:
        material.explanations += [] if explanation is None else [explanation]


def _add_benchmarks(material: Material, catalogue: Catalogue, *, name: str) -> None:
    """The newest one of the recipe."""
    from tunekit.benchmark.results import Report

    for run in catalogue.benchmarks.list(name=name, limit=1):
        try:
            text = json.dumps(catalogue.benchmarks.get(run.id).results)
            material.benchmarks.append(Report.from_json(text))
        except TunekitError as error:
            material.remarks.append(f"benchmark {run.id} is not shown: {error.message}")
