"""What a user of 0.1 has on disk goes on working: catalogue, recipe, library, exported records.

assets/before-0.2 was written by the last version before 0.2 from /home/someone/models: session
ee4f39c8 is finished, 679894c6 was interrupted at 10 of 30 trials. The folder "records" holds one of
the kernels that it exported.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tunekit.catalogue import Catalogue, FailureKind
from tunekit.catalogue.queries.filters import RecordFilter
from tunekit.errors import TargetError, UsageError
from tunekit.interchange.exporting import export_records
from tunekit.interchange.importing import import_folder
from tunekit.interchange.replay import Replayer
from tunekit.library import load_manifest
from tunekit.machine.host import detect_host
from tunekit.machine.target import resolve_target
from tunekit.recipe import load_recipe, recipe_digest, session_digest
from tunekit.sessions.resume import recipe_of, session_to_resume
from tunekit.sessions.run import look_up_recipe

ASSETS = Path(__file__).parent / "assets" / "before-0.2"
FINISHED, INTERRUPTED = "ee4f39c8", "679894c6"
HOST = "76bd8d2207faed75"


def restored(path: Path, host: str = HOST) -> Path:
    """The catalogue of then, as if `host` had measured it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((ASSETS / "catalogue.sql").read_text("utf-8"))
        connection.execute("UPDATE hosts SET fingerprint = ?", (host,))
        connection.commit()
    return path


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(restored(tmp_path / "catalogue.db"), create=False) as catalogue:
        yield catalogue


def test_the_catalogue_opens_with_every_trial(old: Catalogue) -> None:
    assert old.maintenance.check() == []
    trials = list(old.trials.read())
    assert len(trials) == 30
    [failed] = [trial for trial in trials if trial.failure is not None]
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.RUN_TIMEOUT
    assert {(s.id, s.state, s.trials_done, s.reused) for s in old.sessions.list()} == {
        (FINISHED, "finished", 20, 0),
        (INTERRUPTED, "interrupted", 10, 6),
    }
    assert old.benchmarks.list() == []


def test_its_sessions_and_records_are_shown(old: Catalogue) -> None:
    report = old.sessions.report(FINISHED)
    assert len(report.tasks) == 10
    assert report.curve()
    assert [library.path for library in report.libraries] == [
        "/home/someone/models/artifacts/small_cnn/model.so"
    ]
    # Nobody had said in words what these compute.
    assert all(task.operation == task.name for task in report.tasks)

    slowest, *others = old.records.listed_best(RecordFilter())
    assert (slowest.record.trial_id, slowest.records) == (23, 5)
    assert slowest.record.score_s == 1.3345033333333334e-05
    assert slowest.record.operator == "fused_blocked_convolution_add_relu1"
    assert len(others) == 9


def test_it_merges_into_another(old: Catalogue, tmp_path: Path) -> None:
    with Catalogue.open(tmp_path / "new.db") as catalogue:
        merged = catalogue.maintenance.merge(old.maintenance)
        assert (merged.sessions, merged.trials, merged.winners) == (2, 30, 2)
        assert (merged.reuses, merged.libraries) == (6, 1)
        assert catalogue.maintenance.merge(old.maintenance).nothing
        assert catalogue.maintenance.check() == []


def test_its_records_are_exported_for_stock_tvm(old: Catalogue, tmp_path: Path) -> None:
    wanted = RecordFilter(operator="adaptive_avg_pool2d1")
    report = export_records(old, wanted, tmp_path / "out", top=1)
    [folder] = report.folders
    assert (folder.workloads, folder.records, report.slower) == (1, 1, 1)


def test_records_that_were_exported_are_imported(tmp_path: Path) -> None:
    with Catalogue.open(tmp_path / "new.db") as catalogue, Replayer() as replayer:
        report = import_folder(ASSETS / "records", catalogue, replayer, measured_on=None)
        assert (report.records, report.added, report.bad) == (1, 1, [])
        [record] = catalogue.records.listed(RecordFilter())
        assert record.origin == "import"


def test_the_recipes_load_and_mean_the_same_work(old: Catalogue) -> None:
    recipe = load_recipe(ASSETS / "recipe.yaml")
    assert (recipe.name, recipe.tuning.trials) == ("small_cnn", 20)
    for session in old.sessions.list():
        assert session_digest(recipe_of(session)) == session.recipe_digest
    manifest = load_manifest(ASSETS / "bundle")
    assert recipe_digest(load_recipe(ASSETS / "bundle" / "recipe.yaml")) == manifest.recipe_digest


def test_the_manifest_is_read_with_its_contest_as_the_selection() -> None:
    manifest = load_manifest(ASSETS / "bundle")
    assert (manifest.coverage, manifest.kernels) == (1.0, 8)
    assert manifest.selection is not None
    assert manifest.selection.shipped == "tuned"
    names = [variant.name for variant in manifest.selection.variants]
    assert names == ["tuned", "direct", "default"]


def test_a_session_is_resumed_where_it_was_measured_or_refused_with_the_reason(
    old: Catalogue, tmp_path: Path
) -> None:
    here = detect_host()
    if here.fingerprint != HOST:
        with pytest.raises(UsageError, match="another kind of machine, AMD EPYC"):
            session_to_resume(old, INTERRUPTED, here)
        with pytest.raises(UsageError, match="no unfinished session of this machine"):
            session_to_resume(old, None, here)
    mine = restored(tmp_path / "mine.db", here.fingerprint)
    with Catalogue.open(mine, create=False) as catalogue:
        assert session_to_resume(catalogue, None, here).id == INTERRUPTED
        with pytest.raises(UsageError, match="20 of 20 trials"):
            session_to_resume(catalogue, FINISHED, here)


def test_what_was_measured_is_known_to_the_same_model_today(tmp_path: Path) -> None:
    recipe = load_recipe(ASSETS / "recipe.yaml")
    try:
        resolve_target(recipe.target)
    except TargetError as error:
        pytest.skip(str(error))
    catalogue = restored(tmp_path / "catalogue.db", detect_host().fingerprint)
    known = look_up_recipe(
        recipe.model_copy(update={"catalogue": str(catalogue)}), lambda line: None
    )
    assert (len(known.tasks), len(known.known), known.coverage) == (10, 10, 1.0)
    assert known.latency_s == pytest.approx(2.5170042503377907e-05)
