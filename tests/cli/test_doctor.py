"""`tunekit doctor` on this machine, and on machines that lack something."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tomllib
from pathlib import Path

import pytest


def checks(text: str) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(text)["checks"]}


def before(site: Path) -> dict[str, str]:
    """The environment of a process that looks for packages in ``site`` first."""
    return {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}


def test_a_machine_that_can_tune_is_told_so_after_really_building_something(run_tunekit) -> None:
    done = run_tunekit("doctor")
    assert done.returncode == 0, done.stdout
    assert "TVM builds, records, links and runs for" in done.stdout
    assert done.stdout.endswith("\nTuning works here.\n")


def test_the_pair_of_packages_that_must_fit_comes_first(run_tunekit) -> None:
    first = run_tunekit("doctor", "--quick").stdout.splitlines()[0]
    assert "apache-tvm 0.27.0.post1 with apache-tvm-ffi 0.1.14.post1" in first


def test_json_has_the_host_the_versions_and_every_check(run_tunekit) -> None:
    done = run_tunekit("doctor", "--quick", "-f", "json")
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert report["versions"]["apache-tvm"] == "0.27.0.post1"
    assert report["host"]["cores"] >= 1
    assert {"apache-tvm", "cpu", "c++ compiler", "catalogue", "disk"} <= set(checks(done.stdout))


@pytest.mark.parametrize(
    ("variable", "value", "found"),
    [
        ("TUNEKIT_CACHE", "/proc/cache", "cannot write /proc/cache"),
        ("TUNEKIT_CACHE_GB", "much", "TUNEKIT_CACHE_GB is 'much'"),
    ],
)
def test_a_cache_that_cannot_be_used_is_a_problem(
    run_tunekit, variable: str, value: str, found: str
) -> None:
    done = run_tunekit("doctor", "--quick", "-f", "json", env={variable: value})
    assert done.returncode == 1
    check = checks(done.stdout)["cache"]
    assert check["status"] == "problem"
    assert found in check["found"]
    assert check["fix"]


def test_the_wrong_pair_is_a_problem_with_its_fix_and_ends_with_1(
    run_tunekit, tmp_path: Path
) -> None:
    # Found before the real one, as a newer version in the environment would be.
    info = tmp_path / "site/apache_tvm_ffi-0.1.15.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: apache-tvm-ffi\nVersion: 0.1.15\n")
    done = run_tunekit("doctor", "-f", "json", env=before(tmp_path / "site"))
    assert done.returncode == 1
    check = checks(done.stdout)["apache-tvm-ffi"]
    assert check["status"] == "problem"
    assert check["fix"].endswith(
        "pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1"
    )
    assert checks(done.stdout)["self-test"]["status"] == "note"


def test_a_torch_that_does_not_fit_torchvision_is_a_problem(run_tunekit, tmp_path: Path) -> None:
    info = tmp_path / "site/torch-2.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.0.0\n")
    done = run_tunekit("doctor", "--quick", "-f", "json", env=before(tmp_path / "site"))
    check = checks(done.stdout)["torch"]
    assert (done.returncode, check["status"]) == (1, "problem")
    assert "torch==2.12.1" in check["fix"]


def test_a_machine_without_a_compiler_is_told_to_install_one(run_tunekit, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    env = {"PATH": str(tmp_path / "bin"), "CXX": "", "CC": ""}
    done = run_tunekit("doctor", "--quick", env=env)
    assert done.returncode == 1
    assert "problem  c++ compiler" in done.stdout
    assert "fix: install a C++ compiler" in done.stdout
    assert done.stdout.endswith("1 problem: tuning would fail here.\n")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no such header >&2; exit 1", "does not link: no such header"),
        ("while [ $1 != -o ]; do shift; done; echo junk > $2", "invalid ELF header"),
    ],
    ids=["fails", "links junk"],
)
def test_a_compiler_is_judged_by_what_it_links(
    run_tunekit, tmp_path: Path, script: str, words: str
) -> None:
    compiler = tmp_path / "my-cxx"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    done = run_tunekit("doctor", "--quick", "-f", "json", env={"CXX": str(compiler)})
    check = checks(done.stdout)["c++ compiler"]
    assert (done.returncode, check["status"]) == (1, "problem")
    assert words in check["found"].replace("file too short", "invalid ELF header")
    assert "CXX or CC names" in check["fix"]


def test_a_catalogue_that_is_not_one_is_a_problem_and_stays_as_it_was(
    run_tunekit, tmp_path: Path
) -> None:
    file = tmp_path / "photos.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE photos (id INTEGER)")
    database.close()
    before = file.read_bytes()
    done = run_tunekit("doctor", "--quick", "-f", "json", "--catalogue", file)
    assert done.returncode == 1
    assert checks(done.stdout)["catalogue"]["status"] == "problem"
    assert file.read_bytes() == before


def test_looking_for_a_catalogue_does_not_make_one(run_tunekit, tmp_path: Path) -> None:
    done = run_tunekit(
        "doctor", "--quick", "-f", "json", env={"TUNEKIT_CATALOGUE": str(tmp_path / "new/mine.db")}
    )
    assert "mine.db: not there yet" in checks(done.stdout)["catalogue"]["found"]
    assert not (tmp_path / "new").exists()


def test_looking_at_an_empty_file_leaves_it_empty(run_tunekit, tmp_path: Path) -> None:
    file = tmp_path / "empty.db"
    file.touch()
    done = run_tunekit("doctor", "--quick", "-f", "json", "--catalogue", file)
    assert checks(done.stdout)["catalogue"]["status"] == "ok"
    assert file.read_bytes() == b""


def test_a_catalogue_that_will_be_made_is_no_problem_by_url_either(run_tunekit) -> None:
    done = run_tunekit("doctor", "--quick", "-f", "json", "--catalogue", "sqlite:///new.db")
    assert (done.returncode, checks(done.stdout)["catalogue"]["status"]) == (0, "ok")


def test_a_database_that_cannot_keep_a_catalogue_is_a_problem(run_tunekit) -> None:
    done = run_tunekit("doctor", "--quick", "-f", "json", "--catalogue", "mysql://me@server/x")
    assert (done.returncode, checks(done.stdout)["catalogue"]["status"]) == (1, "problem")


def test_a_catalogue_that_cannot_be_made_is_a_problem(run_tunekit) -> None:
    # Where not even root makes files.
    done = run_tunekit("doctor", "--quick", "-f", "json", "--catalogue", "/proc/sys/c.db")
    assert done.returncode == 1
    assert "is not writable" in checks(done.stdout)["catalogue"]["found"]


def test_a_self_test_that_dies_is_reported_by_its_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunekit.doctor import checks

    # A Python that meets an illegal instruction, as a library for a masked CPU does.
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -ILL $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    check = checks.selftest()
    assert check.status == "problem"
    assert "died of SIGILL" in check.found


def test_a_python_that_the_project_does_not_support_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tunekit.doctor import checks

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    major, minor = map(int, oldest.split("."))
    monkeypatch.setattr(sys, "version_info", (major, minor - 1, 99))
    check = checks._python()
    assert (check.status, check.fix) == ("problem", f"use Python {oldest} or newer")
