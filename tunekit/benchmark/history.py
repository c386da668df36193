"""Benchmarks in the catalogue: kept as they end, and looked at again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tunekit.benchmark.results import Report
    from tunekit.catalogue import BenchRun, BenchRunInfo, Catalogue
    from tunekit.recipe import Recipe

Outcome = Literal["faster", "slower", "no difference", "alone", "failed", "wrong", "unknown"]


@dataclass(frozen=True)
class PastRun:
    """An earlier benchmark, by what it said of the tuned library.

    Attributes:
        run: which it is: its number, moment and machine, and the report's own verdict.
        status: of the tuned library; None where it took no part.
        median_s: of the tuned library.
        against: the best other runtime, where there was one.
        ratio: how many times as fast as that, with the interval `low` to `high` that covers the
            true value with the report's confidence; `low` and `high` are equal in a single round.
        size: of a model that has several, of which each has a run of its own.
    """

    run: BenchRunInfo
    status: str | None = None
    median_s: float | None = None
    against: str | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    size: Mapping[str, int] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """The verdict on the tuned library in a word or two."""
        if self.status in ("failed", "wrong"):
            return "wrong" if self.status == "wrong" else "failed"
        if self.ratio is None or self.low is None or self.high is None:
            return "alone" if self.status == "ok" else "unknown"
        if self.low <= 1.0 <= self.high:
            return "no difference"
        return "faster" if self.ratio > 1.0 else "slower"


def keep(report: Report, recipe: Recipe) -> int:
    """Adds a report to its recipe's catalogue, with every sample; its number there.

    Raises:
        CatalogueError: the catalogue cannot be opened or written.
    """
    import json

    from tunekit.catalogue import Catalogue, NewBenchRun
    from tunekit.machine.host import detect_host
    from tunekit.machine.toolchain import versions

    document = json.loads(report.to_json())
    with Catalogue.open(recipe.catalogue) as catalogue:
        return catalogue.benchmarks.add(
            NewBenchRun(
                name=recipe.name,
                recipe_digest=report.recipe_digest,
                host=report.environment.host,
                host_fingerprint=detect_host().fingerprint,
                toolchain=versions(),
                environment=document["environment"],
                results=document,
                library_id=_library_id(catalogue, report, recipe),
                measured_at=datetime.fromisoformat(report.environment.date),
            )
        )


def past_runs(
    catalogue: Catalogue,
    *,
    name: str | None = None,
    session_id: str | None = None,
    limit: int | None = 20,
) -> list[PastRun]:
    """The benchmarks of a recipe, or of a session's libraries, newest first.

    Of a model of several sizes each size is one; `limit` counts them together.
    """
    listed = catalogue.benchmarks.list(limit, name=name, session_id=session_id)
    kept = (catalogue.benchmarks.get(run.id) for run in listed)
    return list(itertools.chain.from_iterable(map(_past_runs, kept)))


def _library_id(catalogue: Catalogue, report: Report, recipe: Recipe) -> int | None:
    """The tuned library that ran, if this catalogue knows it."""
    if not any(row.runtime == "tuned" and row.rounds for row in report.runtimes):
        return None
    from tunekit.library.manifest import MANIFEST_FILE, load_manifest
    from tunekit.library.output import library_folder

    folder = library_folder(recipe)
    if not (folder / MANIFEST_FILE).is_file():
        return None
    manifest = load_manifest(folder)
    return catalogue.libraries.find(str((folder / manifest.library).resolve()), manifest.sha256)


def _past_runs(kept: BenchRun) -> list[PastRun]:
    rows: Iterable[Mapping[str, Any]] = kept.results.get("runtimes", ())
    tuned = [row for row in rows if _is_tuned(row)]
    return [_past_run(kept.info, row) for row in tuned] or [PastRun(kept.info)]


def _is_tuned(row: Mapping[str, Any]) -> bool:
    name = str(row.get("name"))
    return name == "tuned" or (bool(row.get("size")) and name.startswith("tuned ("))


def _past_run(info: BenchRunInfo, tuned: Mapping[str, Any]) -> PastRun:
    latency, ratio = tuned.get("latency") or {}, tuned.get("ratio") or {}
    median_ms = latency.get("median_ms")
    return PastRun(
        info,
        size=tuned.get("size") or {},
        status=tuned.get("status"),
        median_s=None if median_ms is None else median_ms / 1e3,
        against=ratio.get("against"),
        ratio=ratio.get("value"),
        low=ratio.get("low"),
        high=ratio.get("high"),
    )
